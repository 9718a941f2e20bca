/* Long work with the GIL, in slices: others have it in between. */
#ifndef PYHOT_SLICE_H
#define PYHOT_SLICE_H

#include <stdint.h>

struct slice {       /* in ns */
    uint64_t since;  /* when the GIL was taken, CLOCK_MONOTONIC */
    uint64_t before; /* when slice_share was called last */
    uint64_t step;   /* how long it takes from one call to the next, as far as can be told */
};

/* The GIL was just taken. */
void slice_begin(struct slice *);

/* Lets others run if the slice would be over before the next call.  Each such turn costs a switch
 * interval (5 ms) where another thread always wants the GIL, so slices are long: 17 ms.  GIL held;
 * released meanwhile. */
void slice_share(struct slice *);

#endif
