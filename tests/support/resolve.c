/* What the C library resolves: for each name a line with the addresses in order, or the error of getaddrinfo(3).
   Built with glibc and with musl, whose resolvers have nothing in common. "resolve flood ADDRESS SECONDS" sends queries for
   names that are not there, as fast as it can. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static int compare(const void *a, const void *b) { return strcmp(a, b); }

static void resolve(const char *name)
{
    static char found[4096][INET6_ADDRSTRLEN];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list, *item;
    int count = 0, error = getaddrinfo(name, NULL, &hints, &list);
    if (error) {
        printf("%s %s\n", name, error == EAI_NONAME ? "NONAME" : error == EAI_AGAIN ? "AGAIN" : "OTHER");
        return;
    }
    for (item = list; item && count < 4096; item = item->ai_next) {
        void *address = item->ai_family == AF_INET ? (void *)&((struct sockaddr_in *)item->ai_addr)->sin_addr
                                                   : (void *)&((struct sockaddr_in6 *)item->ai_addr)->sin6_addr;
        inet_ntop(item->ai_family, address, found[count++], INET6_ADDRSTRLEN);
    }
    qsort(found, count, INET6_ADDRSTRLEN, compare);
    printf("%s", name);
    for (int at = 0; at < count; at++)
        if (!at || strcmp(found[at], found[at - 1]))
            printf(" %s", found[at]);
    printf("\n");
    freeaddrinfo(list);
}

static int flood(const char *address, int seconds)
{
    unsigned char query[] = "\0\0\1\0\0\1\0\0\0\0\0\0\10aaaaaaaa\7default\3svc\7cluster\5local\0\0\1\0\1";
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(53)};
    time_t end = time(NULL) + seconds;
    long sent = 0;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    inet_pton(AF_INET, address, &target.sin_addr);
    while (time(NULL) < end) {
        for (int at = 13; at < 21; at++)
            query[at] = 'a' + rand() % 26;
        sent += sendto(fd, query, sizeof query - 1, 0, (struct sockaddr *)&target, sizeof target) > 0;
    }
    printf("%ld\n", sent);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "flood"))
        return flood(argv[2], atoi(argv[3]));
    for (int at = 1; at < argc; at++)
        resolve(argv[at]);
    return 0;
}
