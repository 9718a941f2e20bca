/* What every unit test includes: cmocka and what it wants before it. */
#ifndef PYHOT_TESTS_UNIT_H
#define PYHOT_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
