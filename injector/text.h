/* Text for a terminal from values that others made: JSON members, control characters made
 * harmless, colours. */
#ifndef PYHOT_TEXT_H
#define PYHOT_TEXT_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "options.h"

/* Members of a JSON object, with a default where there is none of that type. */
const char *member_text(struct json_object *, const char *key);           /* "" */
int64_t member_number(struct json_object *, const char *key);             /* 0 */
double member_real(struct json_object *, const char *key);                /* 0 */
struct json_object *member_list(struct json_object *, const char *key);   /* NULL */
struct json_object *member_object(struct json_object *, const char *key); /* NULL */
size_t list_length(struct json_object *);                                 /* NULL: 0 */

/* A JSON string of bytes that the kernel or a target gave: what is no UTF-8 becomes U+FFFD. */
struct json_object *json_text(const char *bytes);

/* Prints `text` with control characters as \x1b; tabs stay, newlines too if `lines`. */
void print_safe(FILE *, const char *text, bool lines);

/* "1 function", "2 functions"; "class" and "dictionary" have the right plural too. */
void print_count(FILE *, int64_t n, const char *noun);

enum paint { PAINT_NONE, PAINT_BOLD, PAINT_GOOD, PAINT_WARNING, PAINT_BAD };

/* Colour for `stream` as the options, NO_COLOR and the terminal have it. */
bool color_wanted(const struct options *, FILE *stream);
/* Prints safe text in that paint. */
void print_painted(FILE *, bool color, enum paint, const char *text);

#endif
