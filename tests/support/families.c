/* Makes a socket of each family that is named by its number, and prints what came of it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int main(int count, char **arguments) {
    for (int i = 1; i < count; i++) {
        int family = atoi(arguments[i]);
        int made = socket(family, family == AF_ALG ? SOCK_SEQPACKET : SOCK_STREAM, 0);
        printf("%d %s\n", family, made < 0 ? strerror(errno) : "made");
    }
    return 0;
}
