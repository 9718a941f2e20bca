/* agent/cpython/set.h */
#ifdef FIELD

SIZE(struct set_entry, setentry)
FIELD(struct set_entry, key, setentry, key)
FIELD(struct set_entry, hash, setentry, hash)
FIELD(struct set_object, fill, PySetObject, fill)
FIELD(struct set_object, used, PySetObject, used)
FIELD(struct set_object, mask, PySetObject, mask)
FIELD(struct set_object, table, PySetObject, table)
FIELD(struct set_object, hash, PySetObject, hash)
FIELD(struct set_object, finger, PySetObject, finger)

#endif
