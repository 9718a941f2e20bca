/* The code that runs in the target (stub/), carried inside the pyhot binary. */
        .section .rodata
        .global stub_blob
        .global stub_blob_end
        .hidden stub_blob
        .hidden stub_blob_end
stub_blob:
        .incbin STUB_FILE
stub_blob_end:
        .byte 0
        .section .note.GNU-stack, "", @progbits
