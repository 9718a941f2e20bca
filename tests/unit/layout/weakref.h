/* agent/cpython/weakref.h */
#ifdef FIELD

FIELD(struct weak_reference, object, PyWeakReference, wr_object)
FIELD(struct weak_reference, callback, PyWeakReference, wr_callback)
FIELD(struct weak_reference, hash, PyWeakReference, hash)
FIELD(struct weak_reference, prev, PyWeakReference, wr_prev)
FIELD(struct weak_reference, next, PyWeakReference, wr_next)

#endif
