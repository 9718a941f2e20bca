/* An agent of our own build that an earlier attach left in the target. */
#ifndef PYHOT_LOADED_AGENT_H
#define PYHOT_LOADED_AGENT_H

#include "target.h"

#define AGENT_MEMFD_NAME "pyhot-agent" /* inject.c makes the memfd with this name */

/* *entry: the address of its PYHOT_ENTRY, or 0 when there is none of this very build. */
struct error *loaded_agent_find(uint64_t *entry, const struct target *)
    __attribute__((warn_unused_result));

#endif
