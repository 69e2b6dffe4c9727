/* fiber.h - a stack of its own for code that blocks: worker jobs and the start of a process.
 * SPDX-License-Identifier: Apache-2.0
 *
 * Purpose:    a simulated thread that may block in a file operation gives the one real thread back until the virtual
 *             time at which the operation ends. So each operation happens at its own time, and one that a crash came
 *             before never happens: the fiber is thrown away.
 * Ownership:  given back fibers are kept for the next taker, of any world, until the program ends.
 * Threading:  one thread. A fiber is resumed from one place and yields back to there; resuming may nest. */
#ifndef CAIRN_SIM_FIBER_H
#define CAIRN_SIM_FIBER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"

struct fiber {
    void *sp;        /* where it stopped */
    void *caller_sp; /* where resume was called */
    void *stack;
    void (*main)(void *arg);
    void *arg;
    bool done;
    struct link link; /* while it is free */
    unsigned uses;
    void *sanitizer[4];
};

/* main(arg) runs at the first resume. */
struct fiber *fiber_take(void (*main)(void *arg), void *arg);
/* A finished fiber, or one that will never go on: what is on its stack is forgotten. */
void fiber_give(struct fiber *f);
/* Runs it until it yields or is done. */
void fiber_resume(struct fiber *f);
/* Called on the fiber: goes back to whoever resumed it. */
void fiber_yield(struct fiber *f);

#endif
