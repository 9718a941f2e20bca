/* The contract between injector and agent: the one header that both include.
 *
 * The injector fills a `struct pyhot_request` in memory that both processes map
 * (a page of a memfd made in the tracee), and starts a thread in the tracee that
 * calls PYHOT_ENTRY with it.  The agent answers with one JSON object a line on
 * the pipe `channel`; docs/protocol.md lists them.  Nothing else passes between
 * the two.  The mapping and every descriptor but `channel` belong to whoever
 * started the thread; the agent closes `channel` when it has said its last line. */
#ifndef PYHOT_REQUEST_H
#define PYHOT_REQUEST_H

#include <stdatomic.h>
#include <stdint.h>

#define PYHOT_PROTOCOL 1
#define PYHOT_ENTRY    "pyhot_agent_main" /* void PYHOT_ENTRY(struct pyhot_request *) */
#define PYHOT_REMOTE   "pyhot_remote"     /* the extension module that remote-exec loads */

/* Where the job is.  The agent moves it forward; the injector may only move
 * WAITING or RUNNING to CANCELLED.  Every move is a compare-and-swap, so the two
 * always agree on whether the tracee was changed: it is, from COMMITTING on. */
enum pyhot_state {
    PYHOT_WAITING = 0, /* thread started or starting; the GIL is not held yet */
    PYHOT_RUNNING,     /* the GIL is held or was; nothing of the tracee is changed */
    PYHOT_COMMITTING,  /* the change is being made; cannot be cancelled any more */
    PYHOT_DONE,        /* the last line has been written */
    PYHOT_CANCELLED,   /* the injector gave up; the agent ends without a change */
};

/* How far remote-exec is, which loads the agent by a script in the main thread. */
enum pyhot_entered {
    PYHOT_NOT_ENTERED = 0,
    PYHOT_ENTERED,     /* the agent's thread is there; it waits for the end of the script */
    PYHOT_SCRIPT_OVER, /* the main thread goes on with its own work */
};

enum pyhot_command {
    PYHOT_ATTACH = 1,
    PYHOT_LIST_STALE = 2,
    PYHOT_WHERE = 3,
};

enum pyhot_flag {
    PYHOT_DRY_RUN = 1u << 0,
    PYHOT_FORCE = 1u << 1, /* reload even where the source is unchanged */
    PYHOT_VERBOSE = 1u << 2,
    PYHOT_OBJECTS = 1u << 3, /* list-stale --objects */
    PYHOT_STALE = 1u << 4,   /* attach --stale: the modules are all that are stale */
    PYHOT_GRAPH = 1u << 5,   /* with PYHOT_OBJECTS: also as nodes and edges */
    PYHOT_LENT = 1u << 6,    /* a thread lends the GIL in the middle of C code */
};

enum pyhot_data_policy { PYHOT_DATA_AUTO = 0, PYHOT_DATA_NEW, PYHOT_DATA_KEEP };

struct pyhot_request {
    uint32_t protocol; /* PYHOT_PROTOCOL */
    uint32_t size;     /* bytes of this struct and the strings behind it */
    _Atomic uint32_t state;
    int32_t channel; /* write end of a pipe, a descriptor of the tracee, O_NONBLOCK */
    uint32_t command;
    uint32_t flags;
    uint32_t data_policy;
    uint32_t timeout_ms;      /* how long the injector will wait, counted from its start */
    uint32_t n_modules;       /* `strings` holds, each NUL-terminated: the modules, ... */
    uint32_t n_new;           /* ... the names of --new ... */
    uint32_t n_keep;          /* ... and the names of --keep */
    _Atomic uint32_t entered; /* enum pyhot_entered; the agent's */
    char strings[];
};

_Static_assert(sizeof(struct pyhot_request) == 48, "shared by two processes");

#endif
