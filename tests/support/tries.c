/* What a hostile program in a container tries. Prints one line for each attempt: NAME, tab, "refused: REASON" or
 * "SUCCEEDED". Each runs in a process of its own, so that none helps another or ends the rest.
 *
 * Arguments: a pid of the host, a TCP port that the host listens on at 127.0.0.1, a path that exists on the host alone,
 * the numbers of the host's disk (major, minor). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static int host_pid, host_port, disk_major, disk_minor;
static const char *host_path;

/* An attempt returns 0 when it got what it wanted; otherwise errno says why not. */
static int writes(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -1 : 0;
}

static int reads(const char *path) {
    char data[64];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, data, sizeof data);
    if (size == 0) errno = ENODATA;
    return size > 0 ? 0 : -1;
}

static int device(mode_t kind, int major, int minor) {
    char path[] = "/tmp/nodeXXXXXX";
    mktemp(path);
    if (mknod(path, kind | 0666, makedev(major, minor)) < 0) return -1;
    return reads(path);
}

static int disk_node(void) { return device(S_IFBLK, disk_major, disk_minor); }
static int disk_node_in_dev(void) {
    if (mknod("/dev/disk", S_IFBLK | 0666, makedev(disk_major, disk_minor)) < 0) return -1;
    return reads("/dev/disk");
}
static int memory_node(void) { return device(S_IFCHR, 1, 1); }
static int kernel_log_node(void) { return device(S_IFCHR, 1, 11); }

static int mount_tmpfs(void) { return mount("tmpfs", "/tmp", "tmpfs", 0, ""); }
static int mount_proc(void) { return mount("proc", "/tmp", "proc", 0, ""); }
static int mount_disk(void) { return device(S_IFBLK, disk_major, disk_minor) ? -1 : mount("/tmp/d", "/tmp", "ext4", 0, ""); }
static int remount_sys(void) { return mount("", "/proc/sys", "", MS_REMOUNT | MS_BIND, ""); }
static int unmount_mask(void) { return umount2("/proc/keys", MNT_DETACH); }
static int unmount_read_only(void) { return umount2("/proc/sys", MNT_DETACH); }
static int new_mount(void) { return syscall(SYS_fsopen, "tmpfs", 0) < 0 ? -1 : 0; }
static int copy_mount(void) { return syscall(SYS_open_tree, AT_FDCWD, "/", 1) < 0 ? -1 : 0; }
static int change_mount(void) {
    uint64_t attributes[4] = {0, 1, 0, 0};
    return syscall(SYS_mount_setattr, AT_FDCWD, "/proc/sys", 0, attributes, sizeof attributes);
}
static int pivot(void) { return syscall(SYS_pivot_root, "/tmp", "/tmp"); }

static int trace_host(void) { return ptrace(PTRACE_ATTACH, host_pid, 0, 0) < 0 ? -1 : 0; }
static int signal_host(void) { return kill(host_pid, 0); }
static int pidfd_host(void) { return syscall(SYS_pidfd_open, host_pid, 0) < 0 ? -1 : 0; }
static int memory_of_host(void) {
    char data[8];
    struct iovec local = {data, 8}, remote = {(void *)0x400000, 8};
    return process_vm_readv(host_pid, &local, 1, &remote, 1, 0) < 0 ? -1 : 0;
}
static int environment_of_host(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/environ", host_pid);
    return reads(path);
}

static int sysrq(void) { return writes("/proc/sysrq-trigger", "h"); }
static int kcore(void) { return reads("/proc/kcore"); }
static int kernel_keys(void) { return reads("/proc/keys"); }
static int timers(void) { return reads("/proc/timer_list"); }
static int core_pattern(void) { return writes("/proc/sys/kernel/core_pattern", "|/bin/sh"); }
static int modprobe(void) { return writes("/proc/sys/kernel/modprobe", "/bin/sh"); }
static int irq_affinity(void) { return writes("/proc/irq/default_smp_affinity", "1"); }
static int uevent_helper(void) { return writes("/sys/kernel/uevent_helper", "/bin/sh"); }
static int power_state(void) { return writes("/sys/power/state", "mem"); }
static int firmware(void) { return reads("/sys/firmware/acpi/tables/DSDT"); }

static int any_cgroup(const char *name, const char *text) {
    char path[512];
    DIR *folder = opendir("/sys/fs/cgroup");
    struct dirent *entry;
    int result = -1, reason = ENOENT;
    while (folder && (entry = readdir(folder))) {
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s/%s", entry->d_name, name);
        if (writes(path, text) == 0) result = 0;
        else if (errno != ENOENT && errno != ENOTDIR) reason = errno;
    }
    errno = reason;
    return result;
}
static int release_agent(void) { return any_cgroup("release_agent", "/bin/sh"); }
static int notify_on_release(void) { return any_cgroup("notify_on_release", "1"); }
static int allow_devices(void) { return any_cgroup("devices.allow", "a"); }
static int lift_pids(void) { return any_cgroup("pids.max", "max"); }
static int leave_cgroup(void) { return any_cgroup("cgroup.procs", "0"); }
static int mount_cgroup(void) { return mount("cgroup", "/tmp", "cgroup", 0, "rdma"); }
static int mount_cgroup2(void) { return mount("cgroup2", "/tmp", "cgroup2", 0, ""); }

static int packet_socket(void) { return socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ARP)) < 0 ? -1 : 0; }
static int forge_arp(void) {
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = 1, .sll_halen = 6, .sll_protocol = htons(ETH_P_ARP)};
    unsigned char frame[42] = {[0 ... 5] = 255, [12] = 8, [13] = 6};
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ARP));
    return fd < 0 || sendto(fd, frame, sizeof frame, 0, (struct sockaddr *)&to, sizeof to) < 0 ? -1 : 0;
}
static int raw_ip(void) { return socket(AF_INET, SOCK_RAW, 1) < 0 ? -1 : 0; }
static int kernel_crypto(void) { return socket(38, SOCK_SEQPACKET, 0) < 0 ? -1 : 0; }
static int hypervisor_socket(void) { return socket(40, SOCK_STREAM, 0) < 0 ? -1 : 0; }
static int host_loopback(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(host_port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&to, sizeof to);
}

static int keyring(void) { return syscall(SYS_keyctl, 0, -3, 0) < 0 ? -1 : 0; }
/* The 32-bit system calls of a 64-bit process: other numbers, other rules, the same kernel (x86-64, int 0x80). */
#ifdef __x86_64__
static int compat(long number, long a, long b, long c, long d) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d)
                     : "memory", "r8", "r9", "r10", "r11");
    if (result < 0) errno = -result;
    return result < 0 ? -1 : 0;
}
static int compat_socketcall(unsigned family, unsigned type) {
    uint32_t *words = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    words[0] = family, words[1] = type, words[2] = 0;
    return compat(102, 1, (long)words, 0, 0);
}
static int compat_text(long number, const char *text, long b, long c) {
    char *low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    strcpy(low, text);
    return compat(number, (long)low, b, c, 0);
}
static int wide_socket(unsigned family, unsigned type) { return syscall(SYS_socket, 1L << 32 | family, type, 0) < 0 ? -1 : 0; }
static int x32_socket(unsigned family, unsigned type) {
    return syscall(0x40000000 | SYS_socket, family, type, 0) < 0 ? -1 : 0;
}
#else
static int compat(long number, long a, long b, long c, long d) { errno = ENOSYS; return -1; }
static int compat_socketcall(unsigned family, unsigned type) { errno = ENOSYS; return -1; }
static int compat_text(long number, const char *text, long b, long c) { errno = ENOSYS; return -1; }
static int wide_socket(unsigned family, unsigned type) { return syscall(SYS_socket, 1L << 32 | family, type, 0) < 0 ? -1 : 0; }
static int x32_socket(unsigned family, unsigned type) { errno = ENOSYS; return -1; }
#endif
static int compat_multiplexed_crypto(void) { return compat_socketcall(38, SOCK_SEQPACKET); }
static int compat_multiplexed_hypervisor(void) { return compat_socketcall(40, SOCK_STREAM); }
static int compat_kernel_crypto(void) { return compat(359, 38, SOCK_SEQPACKET, 0, 0); }
static int compat_hypervisor_socket(void) { return compat(359, 40, SOCK_STREAM, 0, 0); }
static int wide_kernel_crypto(void) { return wide_socket(38, SOCK_SEQPACKET); }
static int wide_hypervisor_socket(void) { return wide_socket(40, SOCK_STREAM); }
static int x32_kernel_crypto(void) { return x32_socket(38, SOCK_SEQPACKET); }
static int x32_hypervisor_socket(void) { return x32_socket(40, SOCK_STREAM); }
static int compat_unshare_user(void) { return compat(310, CLONE_NEWUSER, 0, 0, 0); }
static int compat_keyring(void) { return compat(288, 1, 0, 0, 0); }
static int compat_page_faults(void) { return compat(374, 0, 0, 0, 0); }
static int compat_uring(void) { return compat(425, 0, 0, 0, 0) < 0 && errno == EPERM ? -1 : 0; }
static int compat_swap(void) { return compat_text(115, "/tmp/none", 0, 0); }
static int compat_chroot(void) { return compat_text(61, "/tmp", 0, 0) < 0 ? -1 : access(host_path, F_OK); }
static int compat_host_name(void) { return compat_text(74, "taken", 5, 0); }
static int compat_module(void) { return compat_text(129, "none", 0, 0); }

static int make_key(void) { return syscall(SYS_add_key, "user", "x", "x", 1, -3) < 0 ? -1 : 0; }
static int ask_key(void) { return syscall(SYS_request_key, "user", "x", "", -3) < 0 ? -1 : 0; }

static int unshare_user(void) { return unshare(CLONE_NEWUSER); }
static int unshare_mounts(void) { return unshare(CLONE_NEWNS); }
static int unshare_network(void) { return unshare(CLONE_NEWNET); }
static int clone_with(unsigned long flags) {
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    return pid < 0 ? -1 : 0;
}
static int clone_user(void) { return clone_with(CLONE_NEWUSER); }
static int clone_mounts(void) { return clone_with(CLONE_NEWNS); }
static int clone3_user(void) {
    uint64_t arguments[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    long pid = syscall(SYS_clone3, arguments, sizeof arguments);
    if (pid == 0) _exit(0);
    return pid < 0 ? -1 : 0;
}
static int join_mounts(void) { return setns(open("/proc/1/ns/mnt", O_RDONLY), CLONE_NEWNS); }

static int load_bpf(void) {
    uint64_t attributes[16] = {0};
    return syscall(SYS_bpf, 0, attributes, sizeof attributes) < 0 ? -1 : 0;
}
static int perf(void) {
    uint64_t attributes[16] = {0};
    ((uint32_t *)attributes)[1] = 112;
    return syscall(SYS_perf_event_open, attributes, 0, -1, -1, 0) < 0 ? -1 : 0;
}
static int page_faults(void) { return syscall(SYS_userfaultfd, 0) < 0 ? -1 : 0; }
static int uring(void) {
    char parameters[120] = {0};
    return syscall(SYS_io_uring_setup, 1, parameters) < 0 ? -1 : 0;
}
static int file_handle(void) {
    struct { struct file_handle head; unsigned char body[16]; } handle = {{8, 1}, {2}};
    return open_by_handle_at(AT_FDCWD, &handle.head, O_RDONLY) < 0 ? -1 : 0;
}
static int load_module(void) { return syscall(SYS_init_module, "", 0, ""); }
static int load_module_file(void) { return syscall(SYS_finit_module, open("/bin/busybox", O_RDONLY), "", 0); }
static int kexec(void) { return syscall(SYS_kexec_load, 0, 0, 0, 0); }
static int ports(void) {
#ifdef __x86_64__
    return ioperm(0x70, 1, 1);
#else
    errno = ENOSYS;
    return -1;
#endif
}
static int restart(void) { return reboot(RB_DISABLE_CAD); }
static int swap(void) { return swapoff("/nowhere"); }
static int clock_change(void) {
    struct timeval now;
    gettimeofday(&now, 0);
    return settimeofday(&now, 0);
}
static int accounting(void) { return acct(0); }
static int kernel_log(void) {
    char data[64];
    return syscall(SYS_syslog, 3, data, sizeof data) < 0 ? -1 : 0;
}
static int host_name(void) { return sethostname("taken", 5); }
static int lower_oom(void) { return writes("/proc/self/oom_score_adj", "-999"); }

static int leaked_descriptor(void) {
    for (int fd = 3; fd < 4096; fd++)
        if (fcntl(fd, F_GETFD) >= 0) return 0;
    return -1;
}
static int leaked_folder(void) {
    char path[64], data[4096];
    for (int fd = 0; fd < 256; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d/../../../../../../etc/shadow", fd);
        if (reads(path) == 0) return 0;
        snprintf(path, sizeof path, "/proc/1/fd/%d", fd);
        ssize_t size = readlink(path, data, sizeof data);
        if (size > 1 && data[0] == '/' && strncmp(data, "/dev/", 5) && access(path, R_OK) == 0) return 0;
    }
    return -1;
}
static int break_chroot(void) {
    mkdir("/tmp/jail", 0755);
    int root = open("/", O_RDONLY | O_DIRECTORY);
    if (chroot("/tmp/jail") < 0) return -1;
    if (fchdir(root) < 0) return -1;
    for (int i = 0; i < 64; i++)
        if (chdir("..") < 0) return -1;
    if (chroot(".") < 0) return -1;
    return access(host_path, F_OK);
}
static int host_file(void) { return access(host_path, F_OK); }
static int root_of_first(void) {
    char path[512];
    snprintf(path, sizeof path, "/proc/1/root%s", host_path);
    return access(path, F_OK);
}
static int inherited_capability(void) {
    char line[256];
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if ((!strncmp(line, "CapInh:", 7) || !strncmp(line, "CapAmb:", 7)) && strtoull(line + 7, 0, 16)) return 0;
    errno = ENODATA;
    return -1;
}
static int host_shell(void) {
    /* The runtime's own program, were it writable through the descriptor that a container can name. */
    int fd = open("/proc/1/exe", O_WRONLY);
    return fd < 0 ? -1 : 0;
}

#define TRY(name) {#name, name}
static const struct { const char *name; int (*attempt)(void); } TRIES[] = {
    TRY(disk_node), TRY(disk_node_in_dev), TRY(memory_node), TRY(kernel_log_node), TRY(mount_tmpfs), TRY(mount_proc),
    TRY(mount_disk), TRY(remount_sys), TRY(unmount_mask), TRY(unmount_read_only), TRY(new_mount), TRY(copy_mount),
    TRY(change_mount), TRY(pivot), TRY(trace_host), TRY(signal_host), TRY(pidfd_host), TRY(memory_of_host),
    TRY(environment_of_host), TRY(sysrq), TRY(kcore), TRY(kernel_keys), TRY(timers), TRY(core_pattern), TRY(modprobe),
    TRY(irq_affinity), TRY(uevent_helper), TRY(power_state), TRY(firmware), TRY(release_agent), TRY(notify_on_release),
    TRY(allow_devices), TRY(lift_pids), TRY(leave_cgroup), TRY(mount_cgroup), TRY(mount_cgroup2), TRY(packet_socket),
    TRY(forge_arp), TRY(raw_ip), TRY(kernel_crypto), TRY(hypervisor_socket), TRY(host_loopback), TRY(keyring),
    TRY(make_key), TRY(ask_key), TRY(unshare_user), TRY(unshare_mounts), TRY(unshare_network), TRY(clone_user),
    TRY(clone_mounts), TRY(clone3_user), TRY(join_mounts), TRY(load_bpf), TRY(perf), TRY(page_faults), TRY(uring),
    TRY(file_handle), TRY(load_module), TRY(load_module_file), TRY(kexec), TRY(ports), TRY(restart), TRY(swap),
    TRY(clock_change), TRY(accounting), TRY(kernel_log), TRY(host_name), TRY(lower_oom), TRY(leaked_descriptor),
    TRY(leaked_folder), TRY(break_chroot), TRY(host_file), TRY(root_of_first), TRY(inherited_capability), TRY(host_shell),
    TRY(compat_multiplexed_crypto), TRY(compat_multiplexed_hypervisor), TRY(compat_kernel_crypto),
    TRY(compat_hypervisor_socket), TRY(wide_kernel_crypto), TRY(wide_hypervisor_socket), TRY(x32_kernel_crypto),
    TRY(x32_hypervisor_socket), TRY(compat_unshare_user), TRY(compat_keyring), TRY(compat_page_faults), TRY(compat_uring),
    TRY(compat_swap), TRY(compat_chroot), TRY(compat_host_name), TRY(compat_module),
};

int main(int count, char **arguments) {
    if (count != 6) return 2;
    host_pid = atoi(arguments[1]), host_port = atoi(arguments[2]), host_path = arguments[3];
    disk_major = atoi(arguments[4]), disk_minor = atoi(arguments[5]);
    setvbuf(stdout, 0, _IOLBF, 0);
    for (size_t i = 0; i < sizeof TRIES / sizeof *TRIES; i++) {
        int status;
        pid_t pid = fork();
        if (pid == 0) {
            alarm(5);
            errno = 0;
            _exit(TRIES[i].attempt() == 0 ? 0 : errno ? errno : 255);
        }
        waitpid(pid, &status, 0);
        if (WIFSIGNALED(status)) printf("%s\trefused: killed by signal %d\n", TRIES[i].name, WTERMSIG(status));
        else if (WEXITSTATUS(status) == 0) printf("%s\tSUCCEEDED\n", TRIES[i].name);
        else printf("%s\trefused: %s\n", TRIES[i].name, strerror(WEXITSTATUS(status)));
    }
    return 0;
}
