/* Compares what we believe of CPython's layouts with its own headers; exits 1 if they differ. */
#include <stdio.h>

#include "layout.h"

int main(void)
{
    const struct layout_value *ours, *theirs;
    size_t n_ours, n_theirs;
    int differ = 0;

    layout_ours(&ours, &n_ours);
    layout_theirs(&theirs, &n_theirs);
    if (n_ours != n_theirs)
        return 1;
    for (size_t i = 0; i < n_ours; i++)
        if (ours[i].value != theirs[i].value) {
            printf("%s: %zu here, %zu in its headers\n", ours[i].what, ours[i].value,
                   theirs[i].value);
            differ = 1;
        }
    if (!differ)
        printf("%zu\n", n_ours);
    return differ;
}
