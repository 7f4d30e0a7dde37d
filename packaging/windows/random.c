/* Random bytes for programs under a Wine that lacks bcryptprimitives.dll. For tests: it is part of no package. */
#include <windows.h>

/* advapi32's own, by its exported name. */
BOOLEAN NTAPI SystemFunction036(PVOID bytes, ULONG count);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T count) {
    const SIZE_T most = 1u << 20;
    while (count > 0) {
        SIZE_T piece = count < most ? count : most;
        if (!SystemFunction036(bytes, (ULONG)piece)) return FALSE;
        bytes += piece;
        count -= piece;
    }
    return TRUE;
}
