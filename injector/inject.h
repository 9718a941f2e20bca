/* The whole way in: channel, memory, agent, thread.  After inject_start returns the target runs
 * on and does not depend on us.
 *
 *     target -> python -> tracee + safepoint -> borrow -> thread in the target -> channel */
#ifndef PYHOT_INJECT_H
#define PYHOT_INJECT_H

#include "../agent/request.h"
#include "python.h"

struct injection {
    struct pyhot_request *request; /* mapped by both sides */
    size_t request_size;
    int channel;       /* read end */
    uint64_t stop_ns;  /* how long the one stopped thread was stopped, in all */
    unsigned attempts; /* stops until one was at a safe place */
};

/* Starts the agent in the target with a copy of `request` (state and channel are filled in here).
 * `deadline_ns` is CLOCK_MONOTONIC.  On error nothing is left in the target. */
struct error *inject_start(struct injection *, const struct target *, const struct python *,
                           const struct pyhot_request *request, uint64_t deadline_ns)
    __attribute__((warn_unused_result));
void inject_end(struct injection *);

/* The checksum of the agent's bytes, spelled so that it changes a path's text and not its meaning:
 * the loader takes a library with a path that it knows for the one it has, whatever the file. */
enum { INJECT_DIGITS_SIZE = 32 * 2 + 1 };
void inject_agent_digits(char digits[INJECT_DIGITS_SIZE]);

/* For memfd_create: with the kernel's flag for a file that cannot be executed, which
 * vm.memfd_noexec may demand and older kernels do not know; the loader needs no other. */
unsigned inject_memfd_flags(void);

/* The agent's bytes, embedded in this binary (agent_blob.S), and its build id in hex. */
extern const unsigned char agent_blob[], agent_blob_end[];

/* The code for the target's thread of ours (stub/), embedded too. */
extern const unsigned char stub_blob[], stub_blob_end[];

#endif
