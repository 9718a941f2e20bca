/* Naming C variables by the symbol tables of the mapped files (variables.h). */
#include "variables.h"

#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "image.h"
#include "text.h"

enum { MOST_DEPTH = 16 };

/* The file behind an address; what a file initialises with zeros follows it as anonymous memory. */
static const struct mapping *file_at(const struct target *target, uint64_t address)
{
    const struct mapping *mapping = target_mapping_at(target, address);

    while (mapping && mapping > target->maps && !*mapping->path &&
           mapping[-1].end == mapping->start)
        mapping--;
    return mapping && *mapping->path == '/' ? mapping : NULL;
}

/* malloc'ed, or NULL. */
static char *symbol_at(const struct target *target, uint64_t address)
{
    const struct mapping *mapping = file_at(target, address);
    struct image image;
    char *symbol;

    if (!mapping || image_open(&image, target, mapping) < 0)
        return NULL;
    symbol = image_symbol_at(&image, address);
    image_close(&image);
    return symbol;
}

/* "C variable at 0x1234 of libx.so['a']" gets the symbol for its address. */
static void put_symbol(struct json_object *object, const char *key, const char *symbol)
{
    static const char before[] = "C variable at 0x";
    const char *text = member_text(object, key), *rest;
    _cleanup_free_ char *named = NULL;

    if (strncmp(text, before, sizeof(before) - 1))
        return;
    rest = strstr(text, " of ");
    if (rest && asprintf(&named, "C variable %s%s", symbol, rest) >= 0)
        json_object_object_add(object, key, json_text(named));
}

static void name_variable(struct json_object *variable, const struct target *target)
{
    _cleanup_free_ char *symbol = symbol_at(target, (uint64_t)member_number(variable, "address"));
    _cleanup_free_ char *where = NULL;

    if (!symbol)
        return;
    json_object_object_add(variable, "symbol", json_text(symbol));
    put_symbol(variable, "path", symbol);
    put_symbol(variable, "label", symbol);
    if (*member_text(variable, "where") &&
        asprintf(&where, "C variable %s of %s", symbol, member_text(variable, "file")) >= 0)
        json_object_object_add(variable, "where", json_text(where));
}

static void name_all(struct json_object *value, const struct target *target, int depth)
{
    if (depth == MOST_DEPTH)
        return;
    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            name_all(json_object_array_get_idx(value, i), target, depth + 1);
    } else if (json_object_is_type(value, json_type_object)) {
        if (member_number(value, "address") && !*member_text(value, "symbol")) {
            name_variable(value, target);
            return;
        }
        json_object_object_foreach(value, key, member)
        {
            (void)key;
            name_all(member, target, depth + 1);
        }
    }
}

void variables_name(struct json_object *answer, const struct target *target)
{
    name_all(answer, target, 0);
}
