#include "address_set.h"

#include <string.h>

#include "../big.h"

enum { FIRST_SLOTS = 256 };

static size_t slot_of(const struct address_set *set, uintptr_t pointer)
{
    size_t i = (size_t)((pointer >> 3) * UINT64_C(0x9E3779B97F4A7C15) >> 30) & set->mask;

    while (set->slots[i] && set->slots[i] != pointer)
        i = (i + 1) & set->mask;
    return i;
}

static int grow(struct address_set *set)
{
    struct address_set bigger = {.n = set->n};
    size_t n = set->slots ? 2 * (set->mask + 1) : FIRST_SLOTS;

    bigger.slots = big_realloc(NULL, n * sizeof *bigger.slots);
    if (!bigger.slots)
        return -1;
    bigger.mask = n - 1;
    for (size_t i = 0; set->slots && i <= set->mask; i++)
        if (set->slots[i])
            bigger.slots[slot_of(&bigger, set->slots[i])] = set->slots[i];
    big_free(set->slots);
    *set = bigger;
    return 0;
}

int address_set_add(struct address_set *set, uintptr_t pointer)
{
    size_t i;

    if ((!set->slots || set->n * 2 > set->mask) && grow(set) < 0)
        return -1;
    i = slot_of(set, pointer);
    if (set->slots[i])
        return 0;
    set->slots[i] = pointer;
    set->n++;
    return 1;
}

bool address_set_has(const struct address_set *set, uintptr_t pointer)
{
    return set->slots && set->slots[slot_of(set, pointer)];
}

void address_set_clear(struct address_set *set)
{
    if (set->slots && set->mask >= FIRST_SLOTS) {
        address_set_free(set);
        return;
    }
    if (set->n)
        memset(set->slots, 0, (set->mask + 1) * sizeof *set->slots);
    set->n = 0;
}

void address_set_free(struct address_set *set)
{
    big_free(set->slots);
    memset(set, 0, sizeof *set);
}

int by_address(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

    return (x > y) - (x < y);
}
