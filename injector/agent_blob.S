/* The agent, carried inside the pyhot binary: agent_blob .. agent_blob_end (inject.h). */
        .section .rodata
        .balign 4096
        .global agent_blob
        .global agent_blob_end
        .hidden agent_blob
        .hidden agent_blob_end
agent_blob:
        .incbin AGENT_FILE
agent_blob_end:
        .byte 0
        .section .note.GNU-stack, "", @progbits
