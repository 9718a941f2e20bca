/* The frames of a stopped thread, by libunwind over the codemap and one read of the stack. */
#ifndef PYHOT_UNWINDER_H
#define PYHOT_UNWINDER_H

#include "arch/arch.h"
#include "codemap.h"

struct unwinder;

/* `map` must outlive it.  NULL: out of memory. */
struct unwinder *unwinder_new(struct codemap *map);
void unwinder_free(struct unwinder *);

/* Forgets what it learned of code; after codemap_refresh said that it changed. */
void unwinder_forget(struct unwinder *);

/* Begins at the innermost frame.  0, or -1. */
int unwinder_begin(struct unwinder *, const struct arch_registers *);

/* Where this frame is executing; for an outer one the return address. */
uint64_t unwinder_ip(struct unwinder *);

/* 1: at the next outer frame; 0: this was the base of the stack, as its unwinding information
 * says; -1: it cannot be told (no unwinding information, or memory that cannot be read). */
int unwinder_step(struct unwinder *);

#endif
