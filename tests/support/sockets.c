/* Sockets that a container may have, by the native and by the 32-bit system call (x86-64, int 0x80). Prints "all". */
#include <stdio.h>
#include <sys/socket.h>

#ifdef __x86_64__
static int compat_socket(int family, int type) {
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(359), "b"(family), "c"(type), "d"(0) : "memory", "r8", "r9", "r10", "r11");
    return result;
}
#else
static int compat_socket(int family, int type) { return socket(family, type, 0); }
#endif

int main(void) {
    static const int FAMILIES[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
    int pair[2];
    for (size_t i = 0; i < sizeof FAMILIES / sizeof *FAMILIES; i++)
        if (socket(FAMILIES[i], SOCK_DGRAM, 0) < 0 || compat_socket(FAMILIES[i], SOCK_DGRAM) < 0) {
            printf("not family %d\n", FAMILIES[i]);
            return 1;
        }
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) return 1;
    printf("all\n");
    return 0;
}
