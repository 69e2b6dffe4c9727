/* real_address.c - "host:port" to socket addresses and back.
 * SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "env/real_internal.h"

enum status real_address_split(const char *address, char host[256], char port[8], struct error *err)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon == address)
        return error_set(err, ST_INVALID, "address '%s': expected host:port", address);
    const char *start = address;
    size_t n = (size_t)(colon - address);
    if (address[0] == '[') {
        if (n < 3 || address[n - 1] != ']')
            return error_set(err, ST_INVALID, "address '%s': expected [IPv6]:port", address);
        start++;
        n -= 2;
    } else if (memchr(address, ':', n) != NULL) {
        return error_set(err, ST_INVALID, "address '%s': an IPv6 address stands in brackets", address);
    }
    uint64_t number;
    if (!bytes_to_u64(bytes_str(colon + 1), &number) || number > UINT16_MAX)
        return error_set(err, ST_INVALID, "address '%s': the port is a number from 0 to 65535", address);
    if (n > 255) return error_set(err, ST_TOO_LARGE, "address '%s': the host is longer than 255 bytes", address);
    memcpy(host, start, n);
    host[n] = '\0';
    snprintf(port, 8, "%u", (unsigned)number);
    return ST_OK;
}

bool real_address_numeric(const char *host, const char *port, struct real_address *out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    struct real_address all[REAL_ADDRESSES_MAX];
    if (getaddrinfo(host, port, &hints, &found) != 0) return false;
    unsigned n = real_address_list(found, all);
    freeaddrinfo(found);
    if (n > 0) *out = all[0];
    return n > 0;
}

unsigned real_address_list(const struct addrinfo *found, struct real_address out[REAL_ADDRESSES_MAX])
{
    unsigned n = 0;
    for (; found != NULL && n < REAL_ADDRESSES_MAX; found = found->ai_next) {
        if (found->ai_family != AF_INET && found->ai_family != AF_INET6) continue;
        ASSERT(found->ai_addrlen <= sizeof out[n]);
        memset(&out[n], 0, sizeof out[n]);
        memcpy(&out[n], found->ai_addr, found->ai_addrlen);
        n++;
    }
    return n;
}

socklen_t real_address_size(const struct real_address *a)
{
    return a->any.sa_family == AF_INET6 ? sizeof a->v6 : sizeof a->v4;
}

void real_address_text(const struct real_address *a, char *out, size_t n)
{
    char host[INET6_ADDRSTRLEN] = "?";
    bool v6 = a->any.sa_family == AF_INET6;
    inet_ntop(a->any.sa_family, v6 ? (const void *)&a->v6.sin6_addr : (const void *)&a->v4.sin_addr, host, sizeof host);
    snprintf(out, n, v6 ? "[%s]:%u" : "%s:%u", host, ntohs(v6 ? a->v6.sin6_port : a->v4.sin_port));
}
