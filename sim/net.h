/* net.h - the simulated network: what it does to byte streams, and how a driver disturbs it.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    TCP as its users see it: bytes in order and complete, or a broken connection. Underneath, segments take
 *             time, get lost and are sent again; links are cut one way or both; machines vanish without a word.
 *             A link is the way from one machine to another; the way back is another link. */
#ifndef CAIRN_SIM_NET_H
#define CAIRN_SIM_NET_H

#include <stdbool.h>
#include <stdint.h>

struct world;
struct sim_node;

/* All may be changed at any time; windows count for new connections. */
struct sim_net_options {
    uint64_t latency_ns;       /* one way, at least */
    uint64_t jitter_ns;        /* up to that much more */
    uint64_t spike_one_in;     /* segments that take up to 50 times the jitter; 0: none */
    uint64_t loss_one_in;      /* segments that are sent again after a while; 0: none */
    uint64_t retransmit_ns;    /* that while, at least; doubled when it is lost again */
    uint64_t reset_one_in;     /* segments after which the connection is reset; 0: none */
    uint64_t split_one_in;     /* writes cut into several segments, and reads cut short; 0: none */
    uint64_t bytes_per_s;      /* of a machine's network card, outgoing; 0: no limit */
    uint64_t window_bytes_min; /* what is between a writer and its reader: buffers of both kernels */
    uint64_t window_bytes_max;
    uint64_t connect_timeout_ns;
    uint64_t give_up_ns_min; /* unacknowledged for so long: the connection is broken */
    uint64_t give_up_ns_max;
};

struct sim_net_options *net_options(struct world *w);

/* Nothing that `from` sends reaches `to` any more, acknowledgements included. Bytes are held back; what was already
 * under way arrives. Cutting what is cut does nothing. */
void net_cut(struct sim_node *from, struct sim_node *to);
void net_heal(struct sim_node *from, struct sim_node *to);
void net_cut_both(struct sim_node *a, struct sim_node *b);
void net_heal_both(struct sim_node *a, struct sim_node *b);
void net_heal_all(struct world *w);
bool net_is_cut(const struct sim_node *from, const struct sim_node *to);

/* What the link adds to the world's options. */
void net_slow(struct sim_node *from, struct sim_node *to, uint64_t extra_ns, uint64_t extra_jitter_ns);

/* Resets all connections between the two (b NULL: all of a's); each side learns of it in its own time, and part of what
 * was under way still arrives before. Returns how many. */
unsigned net_reset(struct sim_node *a, struct sim_node *b);
/* Resets one connection of a's, drawn from the driver's generator; false if it has none. */
bool net_reset_one(struct sim_node *a);

#endif
