/* One ELF file mapped in the target (an image): its symbols and segments, at the addresses
 * they have there.  Read with libdwfl from the file itself, never from the path in maps. */
#ifndef PYHOT_IMAGE_H
#define PYHOT_IMAGE_H

#include <elfutils/libdwfl.h>

#include "target.h"

struct image {
    const struct mapping *mapping; /* the one that was asked for; borrowed from the target */
    Dwfl *dwfl;
    Dwfl_Module *module;
};

/* What to look for and where it was found; 0: it is not defined there. */
struct symbol {
    const char *name;
    uint64_t address, size;
};

/* Opens the file behind an executable mapping.  0, or -1 with errno. */
int image_open(struct image *, const struct target *, const struct mapping *executable);
void image_close(struct image *);

/* Fills in those of `symbols` whose address is 0 and that the image defines.  An image without a
 * symbol table defines none.  0, or -1 with errno: it has one that cannot be read. */
int image_find_symbols(const struct image *, struct symbol *symbols, size_t n);

/* The symbol that the address is in, "counters" or "counters+8", malloc'ed; NULL: there is none. */
char *image_symbol_at(const struct image *, uint64_t address);

/* DT_SONAME, malloc'ed, or NULL. */
char *image_soname(const struct image *);

/* The writable segment, data and bss. */
bool image_writable_segment(const struct image *, uint64_t *start, uint64_t *size);

/* The address that the image's first page has: where its ELF header is. */
uint64_t image_base(const struct target *, const struct mapping *);

#endif
