/* Programs that are deployed by switching a link: current -> releases/2. */
#ifndef PYHOT_RELEASE_H
#define PYHOT_RELEASE_H

#include "cpython/api.h"

/* Python resolves the directory of the script for sys.path, so the modules of a program started
 * as current/app.py say that they are in releases/1 even when `current` has been pointed to
 * releases/2 since.  Gives the file in the new release that takes the place of `file`: new
 * reference to a str; NULL without an exception if the program was not started through such a
 * link, or the link leads where it led, or the new release has no such file.  GIL held. */
PyObject *release_successor(PyObject *file);

#endif
