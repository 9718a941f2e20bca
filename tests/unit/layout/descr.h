/* agent/cpython/descr.h */
#ifndef FIELD

#include <structmember.h>

#else

SIZE(struct member_def, PyMemberDef)
FIELD(struct member_def, name, PyMemberDef, name)
FIELD(struct member_def, type, PyMemberDef, type)
FIELD(struct member_def, offset, PyMemberDef, offset)
FIELD(struct member_def, flags, PyMemberDef, flags)
FIELD(struct member_def, doc, PyMemberDef, doc)
FIELD(struct member_descr, d_type, PyMemberDescrObject, d_common.d_type)
FIELD(struct member_descr, d_name, PyMemberDescrObject, d_common.d_name)
FIELD(struct member_descr, d_qualname, PyMemberDescrObject, d_common.d_qualname)
FIELD(struct member_descr, d_member, PyMemberDescrObject, d_member)

#endif
