/* One fact about a layout, and its value on one side. */
#ifndef PYHOT_TESTS_LAYOUT_H
#define PYHOT_TESTS_LAYOUT_H

#include <stddef.h>

struct layout_value {
    const char *what;
    size_t value;
};

void layout_ours(const struct layout_value **values, size_t *n);
void layout_theirs(const struct layout_value **values, size_t *n);

#endif
