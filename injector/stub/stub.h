/* The code that pyhot puts into the target, and the memory it works with.
 *
 * The region: two private anonymous pages made by the one system call that the borrowed thread
 * makes directly.  The shared memory: a memfd that our thread makes, mapped by both processes.
 *
 *     region + 0      code, then at STUB_PARAMS struct stub_params   r-x, written by ptrace
 *     region + 4096   struct stub_private                            rw-
 *     shared          struct stub_shared, the request behind it      rw-, both processes
 *
 * Life: the borrowed thread calls the code's first byte with the region's address.  That makes
 * the second page writable, starts our thread by pthread_create, and as its last act says `left`;
 * from then on only our thread uses the region.  If it fails it unmaps the region instead.  Our
 * thread makes the descriptors, says `ready`, waits for `go`, loads the agent and calls it,
 * closes and unmaps all, the region last.  If `go` does not come it does the same without the
 * agent: a pyhot that was killed leaves nothing behind. */
#ifndef PYHOT_STUB_H
#define PYHOT_STUB_H

/* Offsets that MACHINE.S needs; thread.c asserts them. */
#define STUB_PAGE           4096
#define STUB_PARAMS         3072
#define STUB_PTHREAD_CREATE (STUB_PARAMS + 0)
#define STUB_MUNMAP         (STUB_PARAMS + 8)
#define STUB_SYSCALL_RETURN (STUB_PARAMS + 16)
#define STUB_SAVE_THREAD    (STUB_PARAMS + 24)
#define STUB_RESTORE_THREAD (STUB_PARAMS + 32)
#define STUB_THREAD         (STUB_PAGE + 0)
#define STUB_LEFT           (STUB_PAGE + 8)
#define STUB_DONE           (STUB_PAGE + 12)
#define STUB_REGION_SIZE    (2 * STUB_PAGE)

/* Offsets of code that a debugger needs (MACHINE.S): the entry for a call that it makes; that of a
 * thread that lends its GIL, and where it has let it go; and where our thread stops when the agent
 * has ended. */
#define STUB_CALLED 256
#define STUB_LENDS  448
#define STUB_LENT   608
#define STUB_END    736

#ifndef __ASSEMBLER__

#include <stdatomic.h>
#include <stdint.h>

#include "../../agent/request.h"

struct stub_params {
    uint64_t pthread_create, munmap, syscall_return;
    uint64_t save_thread, restore_thread; /* of Python, to lend our thread the GIL; or 0 */
    uint64_t pthread_self, pthread_detach, dlopen, dlsym, dlerror;
    uint64_t loaded_agent; /* PYHOT_ENTRY of an agent that is loaded already, or 0 */
    uint64_t signal_mask;  /* for our thread */
    uint32_t memfd_flags;
    uint32_t shared_size;
    uint32_t patience_ms; /* how long to wait for `go` */
    int32_t pyhot;        /* its pid in the target's pid namespace; 0: it is not of that one */
    uint32_t debugger;    /* enum stub_debugger */
    char shared_name[12], agent_name[16];
    char status[32], untraced[16]; /* a file, and a line of it when no debugger traces us */
};

/* Is there one that has a breakpoint at STUB_END?  Where it was killed the breakpoint may still be
 * there, and would kill the process: our thread looks before it goes there, unless from within
 * its pid namespace the tracer is not to be seen. */
enum stub_debugger { STUB_NO_DEBUGGER = 0, STUB_LOOK_FOR_DEBUGGER, STUB_DEBUGGER };

enum stub_stage { STUB_STARTING = 0, STUB_READY, STUB_FAILED };

struct stub_private {
    uint64_t thread; /* pthread_t */
    _Atomic uint32_t left;
    _Atomic uint32_t done;  /* the agent has ended; a futex */
    _Atomic uint32_t stage; /* enum stub_stage */
    int32_t errnum;         /* why it failed */
    int32_t tid;            /* as the target's own pid namespace has it */
    int32_t shared_fd, agent_fd;
    int32_t channel[2];
    uint64_t stack; /* an address in our thread's, near its top */
};

enum { STUB_PATH_MAX = 4096 };
/* TAKEN: pyhot has the pipe's read end, our thread may close its own. */
enum stub_go { STUB_WAIT = 0, STUB_TAKEN, STUB_GO, STUB_GAVE_UP };
enum stub_outcome { STUB_LOADING = 0, STUB_ENTERED, STUB_NOT_LOADED };

struct stub_shared {
    _Atomic uint32_t go;         /* enum stub_go; a futex */
    _Atomic uint32_t outcome;    /* enum stub_outcome; a futex */
    char error[1024];            /* what dlerror said */
    char library[STUB_PATH_MAX]; /* libpython, to be made global; or "" */
    char agent_path[256];
    char entry[32];
    _Alignas(64) struct pyhot_request request;
};

#endif
#endif
