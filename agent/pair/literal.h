/* A container whose initialiser is a display that changed: the new one takes its place, with what
 * the program did to the old one since.  Three versions are compared part by part: what the old
 * display says, what the live container holds, what the new display says.
 *
 * What the displays say of a part is settled at once, as a state.  What follows from it, when all
 * pairs are known; the container of the new execution is written into, which nobody else has.
 *
 *   of a dict   a dict: key -> state, or for a display in a display: what describes that one
 *   of a set    a dict: element -> state
 *   of a list   a tuple: index of the first part in the live list, their number in the old
 *               display, and a list: for each part of the new display its index in the old or -1 */
#ifndef PYHOT_LITERAL_H
#define PYHOT_LITERAL_H

#include "pairing.h"

enum literal_state {
    STATE_GONE,
    STATE_SAME,
    STATE_COMPUTED, /* the same expression: what cannot change in place is new */
    STATE_OTHER,
};

/* `made`, which the new execution's initialiser made, takes the place of `live`: if both
 * initialisers are displays, notes what is to be carried over.  0, or -1. */
int literal_note(const struct scope *, PyObject *name, PyObject *live, PyObject *made);

/* Does it, for all that was noted.  0, or -1.  (carry.c) */
int literal_carry_all(struct pairing *);

#endif
