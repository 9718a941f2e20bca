/* One ELF file mapped in the target (image.h). */
#include "image.h"

#include <errno.h>
#include <gelf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Only what the mapped file itself has: looking for separate debug files would follow paths,
 * and may go to the network (debuginfod). */
static int no_debuginfo(Dwfl_Module *module, void **userdata, const char *name, Dwarf_Addr base,
                        const char *file, const char *link, GElf_Word crc, char **path)
{
    (void)module, (void)userdata, (void)name, (void)base;
    (void)file, (void)link, (void)crc, (void)path;
    return -1;
}

static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_build_id_find_elf, /* never called: the file is reported open */
    .find_debuginfo = no_debuginfo,
};

uint64_t image_base(const struct target *target, const struct mapping *mapping)
{
    const struct mapping *first = target->maps;

    /* The loader maps the segments of a file one behind the other, in rising order. */
    while (mapping > first && mapping->offset > 0 && mapping[-1].inode == mapping->inode &&
           mapping[-1].device == mapping->device && mapping[-1].offset <= mapping->offset)
        mapping--;
    return mapping->start;
}

int image_open(struct image *image, const struct target *target, const struct mapping *mapping)
{
    int fd = target_open_mapped(target, mapping);

    *image = (struct image){.mapping = mapping};
    if (fd < 0)
        return -1;
    image->dwfl = dwfl_begin(&callbacks);
    if (!image->dwfl) {
        close(fd);
        errno = ENOMEM;
        return -1;
    }
    dwfl_report_begin(image->dwfl);
    image->module = dwfl_report_elf(image->dwfl, mapping->path, mapping->path, fd,
                                    image_base(target, mapping), false);
    dwfl_report_end(image->dwfl, NULL, NULL);
    if (!image->module) { /* then the descriptor is still ours */
        close(fd);
        image_close(image);
        errno = ENOEXEC;
        return -1;
    }
    return 0;
}

void image_close(struct image *image)
{
    dwfl_end(image->dwfl);
    image->dwfl = NULL;
    image->module = NULL;
}

/* In .symtab GNU ld writes versions into the name: "dlopen@@GLIBC_2.34". */
static bool same_name(const char *found, const char *wanted)
{
    size_t length = strlen(wanted);

    return !strncmp(found, wanted, length) && (found[length] == 0 || found[length] == '@');
}

static bool has_symbols(const struct image *image)
{
    GElf_Addr bias;
    GElf_Shdr header;
    Elf *elf = dwfl_module_getelf(image->module, &bias);

    for (Elf_Scn *section = NULL; elf && (section = elf_nextscn(elf, section));)
        if (gelf_getshdr(section, &header) &&
            (header.sh_type == SHT_SYMTAB || header.sh_type == SHT_DYNSYM))
            return true;
    return !elf;
}

/* libdw says why in words only; of a file that the program runs from, memory is what is short. */
int image_find_symbols(const struct image *image, struct symbol *symbols, size_t n)
{
    int count = dwfl_module_getsymtab(image->module);

    if (count < 0 && has_symbols(image)) {
        errno = ENOMEM;
        return -1;
    }
    for (int i = 1; i < count; i++) {
        GElf_Sym info;
        GElf_Addr address;
        GElf_Word section;
        const char *name =
            dwfl_module_getsym_info(image->module, i, &info, &address, &section, NULL, NULL);

        if (!name || section == SHN_UNDEF || GELF_ST_BIND(info.st_info) == STB_LOCAL)
            continue;
        for (size_t k = 0; k < n; k++)
            if (!symbols[k].address && same_name(name, symbols[k].name)) {
                symbols[k].address = address;
                symbols[k].size = info.st_size;
            }
    }
    return 0;
}

char *image_symbol_at(const struct image *image, uint64_t address)
{
    GElf_Off inside;
    GElf_Sym symbol;
    const char *name =
        dwfl_module_addrinfo(image->module, address, &inside, &symbol, NULL, NULL, NULL);
    char *text;

    if (!name || inside >= symbol.st_size) /* only the nearest one before */
        return NULL;
    if (!inside)
        return strdup(name);
    return asprintf(&text, "%s+%" PRIu64, name, (uint64_t)inside) < 0 ? NULL : text;
}

static Elf_Scn *dynamic_section(Elf *elf, GElf_Shdr *header)
{
    for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));)
        if (gelf_getshdr(section, header) && header->sh_type == SHT_DYNAMIC)
            return section;
    return NULL;
}

char *image_soname(const struct image *image)
{
    GElf_Addr bias;
    GElf_Shdr header;
    GElf_Dyn entry;
    Elf *elf = dwfl_module_getelf(image->module, &bias);
    Elf_Scn *section = elf ? dynamic_section(elf, &header) : NULL;
    Elf_Data *data = section ? elf_getdata(section, NULL) : NULL;

    for (int i = 0; data && gelf_getdyn(data, i, &entry) && entry.d_tag != DT_NULL; i++)
        if (entry.d_tag == DT_SONAME) {
            const char *name = elf_strptr(elf, header.sh_link, entry.d_un.d_val);

            return name ? strdup(name) : NULL;
        }
    return NULL;
}

bool image_writable_segment(const struct image *image, uint64_t *start, uint64_t *size)
{
    GElf_Addr bias;
    Elf *elf = dwfl_module_getelf(image->module, &bias);
    size_t n;

    if (!elf || elf_getphdrnum(elf, &n))
        return false;
    for (size_t i = 0; i < n; i++) {
        GElf_Phdr segment;

        if (gelf_getphdr(elf, i, &segment) && segment.p_type == PT_LOAD && segment.p_flags & PF_W) {
            *start = segment.p_vaddr + bias;
            *size = segment.p_memsz;
            return true;
        }
    }
    return false;
}
