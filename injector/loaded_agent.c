/* An agent of our own build in the target (loaded_agent.h): told by its build id, which is read
 * in the target's memory, because the memfd behind it cannot be opened without privilege. */
#include "loaded_agent.h"

#include <gelf.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "inject.h"

/* What the embedded agent says about itself. */
struct agent_elf {
    uint64_t entry;    /* st_value of PYHOT_ENTRY */
    uint64_t build_id; /* address of the note's bytes, relative to the first page */
    const unsigned char *bytes;
    size_t size;
};

static bool find_entry(Elf *elf, struct agent_elf *agent)
{
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
        GElf_Shdr header;
        GElf_Sym symbol;
        Elf_Data *data;

        if (!gelf_getshdr(section, &header) || header.sh_type != SHT_DYNSYM)
            continue;
        data = elf_getdata(section, NULL);
        for (int i = 1; data && gelf_getsym(data, i, &symbol); i++) {
            const char *name = elf_strptr(elf, header.sh_link, symbol.st_name);

            if (name && !strcmp(name, PYHOT_ENTRY) && symbol.st_shndx != SHN_UNDEF) {
                agent->entry = symbol.st_value;
                return true;
            }
        }
    }
    return false;
}

/* The build id in one PT_NOTE segment. */
static bool find_build_id(Elf *elf, const GElf_Phdr *segment, struct agent_elf *agent)
{
    Elf_Data *data = elf_getdata_rawchunk(elf, segment->p_offset, segment->p_filesz, ELF_T_NHDR);
    size_t at = 0, next, name, description;
    GElf_Nhdr note;

    for (; data && (next = gelf_getnote(data, at, &note, &name, &description)); at = next)
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
            !memcmp((char *)data->d_buf + name, "GNU", 4)) {
            agent->build_id = segment->p_vaddr + description;
            agent->bytes = agent_blob + segment->p_offset + description;
            agent->size = note.n_descsz;
            return true;
        }
    return false;
}

static bool read_blob(struct agent_elf *agent)
{
    Elf *elf;
    size_t n = 0;
    bool found = false;

    elf_version(EV_CURRENT);
    /* Opened for reading, the image is not written to; elf_memory(3) takes char *. */
    elf = elf_memory((char *)agent_blob, agent_blob_end - agent_blob);
    if (!elf)
        return false;
    if (find_entry(elf, agent) && !elf_getphdrnum(elf, &n))
        for (size_t i = 0; i < n && !found; i++) {
            GElf_Phdr segment;

            found = gelf_getphdr(elf, i, &segment) && segment.p_type == PT_NOTE &&
                    find_build_id(elf, &segment, agent);
        }
    elf_end(elf);
    return found;
}

struct error *loaded_agent_find(uint64_t *entry, const struct target *target)
{
    struct agent_elf agent;

    *entry = 0;
    if (!read_blob(&agent))
        return error_new(EXIT_CANNOT_ATTACH, "bad-agent",
                         "the agent inside this pyhot is damaged: build it again");
    for (size_t i = 0; i < target->n_maps; i++) {
        const struct mapping *mapping = &target->maps[i];
        _cleanup_free_ unsigned char *id = NULL;
        struct error *error;

        if (mapping->offset || !strstr(mapping->path, "/memfd:" AGENT_MEMFD_NAME))
            continue;
        id = malloc(agent.size);
        if (!id)
            return error_new(EXIT_CANNOT_ATTACH, "out-of-memory", "out of memory");
        error = target_read(target, mapping->start + agent.build_id, id, agent.size);
        if (!error && !memcmp(id, agent.bytes, agent.size))
            *entry = mapping->start + agent.entry;
        error_free(error); /* unreadable: not a loaded agent */
    }
    return NULL;
}
