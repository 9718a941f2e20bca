/* agent/cpython/dict.c.  What is only in Objects/ (dict-common.h to 3.10, odictobject.c) has no
 * header to compare with; dict_layout_known() tries those at run time. */
#ifndef FIELD

#if MINOR >= 11
#include "internal/pycore_dict.h"
#endif

#else

FIELD(struct dict_object, ma_used, PyDictObject, ma_used)
#if MINOR <= 13
FIELD(struct dict_object, ma_version_tag, PyDictObject, ma_version_tag)
#else
FIELD(struct dict_object, ma_version_tag, PyDictObject, _ma_watcher_tag)
#endif
FIELD(struct dict_object, ma_keys, PyDictObject, ma_keys)
FIELD(struct dict_object, ma_values, PyDictObject, ma_values)
#if MINOR >= 11
FIELD(union dict_keys, v11.refcnt, PyDictKeysObject, dk_refcnt)
FIELD(union dict_keys, v11.log2_size, PyDictKeysObject, dk_log2_size)
FIELD(union dict_keys, v11.log2_index_bytes, PyDictKeysObject, dk_log2_index_bytes)
FIELD(union dict_keys, v11.kind, PyDictKeysObject, dk_kind)
FIELD(union dict_keys, v11.version, PyDictKeysObject, dk_version)
FIELD(union dict_keys, v11.usable, PyDictKeysObject, dk_usable)
FIELD(union dict_keys, v11.nentries, PyDictKeysObject, dk_nentries)
OFFSET(union dict_keys, v11.indices, PyDictKeysObject, dk_indices)
VALUE("KIND_GENERAL", KIND_GENERAL, DICT_KEYS_GENERAL)
SIZE(struct dict_entry, PyDictKeyEntry)
FIELD(struct dict_entry, hash, PyDictKeyEntry, me_hash)
FIELD(struct dict_entry, key, PyDictKeyEntry, me_key)
FIELD(struct dict_entry, value, PyDictKeyEntry, me_value)
#endif

#endif
