//! What becomes of a pod that is to be tracked. Pure: a pod as JSON goes in, operations on that JSON come out.
