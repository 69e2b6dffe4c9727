/* port.h - the one port: tells by the first bytes what a connection speaks, and hands it to its door.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    MESH_MAGIC → mesh; a first line (at most 8 KiB, within 5 s) that ends in " HTTP/1.x" → http;
 * 'P','R','I',' ' → an HTTP/2 refusal; 0x16 0x03 → a TLS alert and close, with a diag; PostgreSQL's SSLRequest → 'N'
 * and close; anything else → RESP ('*' at once, inline commands at their first line). Bounds:     connections not yet
 * identified have a small pool (unidentified_max): when it is full the oldest is closed, for an honest client says what
 * it wants at once. Clients have clients_max; peers and HTTP have reserved slots outside of it. Beyond: an error in the
 * protocol's words ("-ERR max number of clients reached"), then closed. Threading:  one port object per shard, on its
 * loop. */
#ifndef CAIRN_WIRE_PORT_H
#define CAIRN_WIRE_PORT_H

#include "env/env.h"

struct port;
struct port_options {
    struct env_loop *loop;
    const char *address;
    size_t unidentified_max, clients_max, http_max, peers_max;
    uint64_t identify_ns; /* 5 s */
    /* Each takes over the stream, with the bytes read so far. The doors tell port_left when such a connection ends. */
    void (*resp)(void *ctx, struct env_stream *s, struct bytes first);
    void (*http)(void *ctx, struct env_stream *s, struct bytes first);
    void (*mesh)(void *ctx, struct env_stream *s, struct bytes first);
    void *ctx;
};
enum port_class { PORT_RESP, PORT_HTTP, PORT_MESH, PORT_CLASSES };

enum status port_open(const struct port_options *options, struct port **out, struct error *err);
uint16_t port_number(const struct port *p);
void port_set_clients_max(struct port *p, size_t clients_max); /* those that are open stay */
void port_left(struct port *p, enum port_class c);             /* p is NULL: the port was closed before */
/* Stops accepting and frees the port; connections handed over stay with their doors. NULL is fine. */
void port_close(struct port *p);
struct port_stats {
    uint64_t open[PORT_CLASSES], refused[PORT_CLASSES], unidentified, identify_timeouts, refused_unidentified;
};
void port_stats(const struct port *p, struct port_stats *out);

#endif
