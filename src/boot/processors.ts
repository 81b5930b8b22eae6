// What processors are called by images, by the kernel and by EFI (docs/spec/boot.md, section 7.5).

/** What processors are called by the kernel and by EFI; keyed by the name that images have for them. */
export const PROCESSORS: Readonly<Record<string, { readonly kernel: string; readonly efi: string }>> = {
  amd64: { kernel: "x86_64", efi: "x64" },
  "386": { kernel: "i686", efi: "ia32" },
  arm64: { kernel: "aarch64", efi: "aa64" },
  arm: { kernel: "arm", efi: "arm" },
  riscv64: { kernel: "riscv64", efi: "riscv64" },
  loong64: { kernel: "loongarch64", efi: "loongarch64" },
};

/** What `kargs.d` calls the processor of an image; the image's own word where that is not known. */
export function kernelArchitecture(architecture: string): string {
  return PROCESSORS[architecture]?.kernel ?? architecture;
}
