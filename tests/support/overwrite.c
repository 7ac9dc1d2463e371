/* Stands in for the loader that the host's Python asks for, so that it runs in its place: /proc/self/exe is then the
 * host's Python, and this tries to open it for writing (CVE-2019-5736). No libc: nothing of it would be set up.
 *
 * Prints "written" when it could be opened, "read-only" when the file lies on a read-only mount, else "busy". */
#include <stddef.h>

#ifdef __x86_64__
enum { WRITE = 1, OPENAT = 257, FSTATFS = 138, EXIT = 60 };
static long call(long number, long a, long b, long c, long d) {
    register long r10 __asm__("r10") = d;
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}
#else
enum { WRITE = 64, OPENAT = 56, FSTATFS = 44, EXIT = 93 };
static long call(long number, long a, long b, long c, long d) {
    register long x8 __asm__("x8") = number, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c, x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}
#endif

static void say(const char *text, long size) { call(WRITE, 1, (long)text, size, 0); }

void _start(void) {
    long statfs[16] = {0};
    const char *exe = "/proc/self/exe";
    if (call(OPENAT, -100, (long)exe, 1, 0) >= 0) say("written\n", 8);
    call(FSTATFS, call(OPENAT, -100, (long)exe, 0, 0), (long)statfs, 0, 0);
    /* f_flags, and ST_RDONLY in it. */
    if (statfs[10] & 1) say("read-only\n", 10);
    else say("busy\n", 5);
    call(EXIT, 0, 0, 0, 0);
}
