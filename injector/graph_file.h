/* list-stale --graph FILE: who holds the old objects, drawn.  FILE.dot is written by us, FILE.svg
 * is what graphviz' dot makes of it. */
#ifndef PYHOT_GRAPH_FILE_H
#define PYHOT_GRAPH_FILE_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"

/* Does the name end in .svg or .dot? */
bool graph_file_known(const char *path);

/* Before the process is touched: is dot there if it is needed, and the directory? */
struct error *graph_file_check(const char *path);

/* Draws "graph" of list-stale's result.  The file is there whole, or is as it was.  dot is killed
 * when it takes longer than `timeout_ms`. */
struct error *graph_file_write(const char *path, struct json_object *result, uint32_t timeout_ms);

#endif
