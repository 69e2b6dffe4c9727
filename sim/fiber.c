/* fiber.c - a stack of its own for code that blocks: worker jobs and the start of a process.
 * SPDX-License-Identifier: Apache-2.0 */
#include "sim/fiber.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/status.h"

#if defined(__SANITIZE_ADDRESS__)
#define FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define FIBER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define FIBER_TSAN 1
#endif
#endif

#ifdef FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef FIBER_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#define STACK_BYTES ((size_t)512 * 1024)
#define GUARD_BYTES ((size_t)4096)

/* Saves the registers that a call must keep (System V x86-64 ABI) on the stack, leaves its pointer in *save, and goes
 * on where the other stack left off. */
void fiber_switch(void **save, void *to);
__asm__(".text\n"
        ".globl fiber_switch\n"
        ".type fiber_switch,@function\n"
        "fiber_switch:\n"
        "  pushq %rbp\n"
        "  pushq %rbx\n"
        "  pushq %r12\n"
        "  pushq %r13\n"
        "  pushq %r14\n"
        "  pushq %r15\n"
        "  movq %rsp, (%rdi)\n"
        "  movq %rsi, %rsp\n"
        "  popq %r15\n"
        "  popq %r14\n"
        "  popq %r13\n"
        "  popq %r12\n"
        "  popq %rbx\n"
        "  popq %rbp\n"
        "  ret\n"
        ".size fiber_switch,.-fiber_switch\n");

/* The first frame of a fiber returns here; r12 holds the fiber. */
void fiber_entry(void);
__asm__(".text\n"
        ".globl fiber_entry\n"
        ".type fiber_entry,@function\n"
        "fiber_entry:\n"
        "  movq %r12, %rdi\n"
        "  xorl %ebp, %ebp\n"
        "  call fiber_main\n"
        "  ud2\n"
        ".size fiber_entry,.-fiber_entry\n");

/* Tell the sanitizers which stack comes next. keep is NULL when the stack that is left ends for good. */
static void leaving(void **keep, const void *bottom, size_t size, void *tsan)
{
#ifdef FIBER_ASAN
    __sanitizer_start_switch_fiber(keep, bottom, size);
#endif
#ifdef FIBER_TSAN
    __tsan_switch_to_fiber(tsan, 0);
#endif
    (void)keep, (void)bottom, (void)size, (void)tsan;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written where the address sanitizer is on */
static void arrived(void *kept, const void **from_bottom, size_t *from_size)
{
#ifdef FIBER_ASAN
    __sanitizer_finish_switch_fiber(kept, from_bottom, from_size);
#endif
    (void)kept, (void)from_bottom, (void)from_size;
}

/* sanitizer[0]: address sanitizer's fake stack; [1], [2]: the caller's stack and size; [3]: thread sanitizer's fiber.
 */
static void back(struct fiber *f)
{
    void *caller_tsan = NULL;
#ifdef FIBER_TSAN
    caller_tsan = f->sanitizer[0];
#endif
    leaving(f->done ? NULL : &f->sanitizer[0], f->sanitizer[1], (size_t)(uintptr_t)f->sanitizer[2], caller_tsan);
    fiber_switch(&f->sp, f->caller_sp);
    size_t size = 0;
    arrived(f->sanitizer[0], (const void **)&f->sanitizer[1], &size);
    f->sanitizer[2] = (void *)(uintptr_t)size;
}

void fiber_main(struct fiber *f);
__attribute__((used)) void fiber_main(struct fiber *f)
{
    size_t size = 0;
    arrived(NULL, (const void **)&f->sanitizer[1], &size);
    f->sanitizer[2] = (void *)(uintptr_t)size;
    f->main(f->arg);
    f->done = true;
    back(f);
    ASSERT(false); /* a finished fiber was resumed */
}

static struct list unused = {{&unused.head, &unused.head}};

static struct fiber *fiber_new(void)
{
    /* Not from the simulated heaps: a fiber outlives the processes that it ran for. */
    struct fiber *f = calloc(1, sizeof *f);
    ASSERT(f != NULL);
    void *map = mmap(NULL, STACK_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    ASSERT(map != MAP_FAILED);
    ASSERT(mprotect(map, GUARD_BYTES, PROT_NONE) == 0);
    f->stack = (uint8_t *)map + GUARD_BYTES;
    return f;
}

struct fiber *fiber_take(void (*main)(void *arg), void *arg)
{
    struct link *k = list_pop_front(&unused);
    struct fiber *f = k != NULL ? CONTAINER_OF(k, struct fiber, link) : fiber_new();
    *f = (struct fiber){.stack = f->stack, .main = main, .arg = arg, .uses = f->uses, .sanitizer[3] = f->sanitizer[3]};
#ifdef FIBER_ASAN
    __asan_unpoison_memory_region(f->stack, STACK_BYTES);
#endif
#ifdef FIBER_TSAN
    if (f->sanitizer[3] == NULL) f->sanitizer[3] = __tsan_create_fiber(0);
#endif
    /* What fiber_switch pops: r15 r14 r13 r12 rbx rbp and the return address, which leaves the stack aligned. */
    void **top = (void **)((uint8_t *)f->stack + STACK_BYTES);
    *--top = NULL;
    *--top = NULL;
    *--top = (void *)(uintptr_t)fiber_entry;
    for (int i = 0; i < 6; i++) *--top = NULL;
    top[3] = f; /* r12 */
    f->sp = top;
    return f;
}

void fiber_give(struct fiber *f)
{
#ifdef FIBER_TSAN
    if (!f->done || ++f->uses % 1000 == 0) { /* its calls never returned, as far as the sanitizer knows */
        __tsan_destroy_fiber(f->sanitizer[3]);
        f->sanitizer[3] = NULL;
    }
#endif
    list_push_front(&unused, &f->link);
}

void fiber_resume(struct fiber *f)
{
    ASSERT(!f->done);
    void *fake = NULL;
#ifdef FIBER_TSAN
    f->sanitizer[0] = __tsan_get_current_fiber();
#endif
    leaving(&fake, f->stack, STACK_BYTES, f->sanitizer[3]);
    fiber_switch(&f->caller_sp, f->sp);
    arrived(fake, NULL, NULL);
}

void fiber_yield(struct fiber *f) { back(f); }
