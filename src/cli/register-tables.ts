/** What options and files may say of the registers of one kind of IOMMU. */
import type { Layout } from '../base/layout.ts'

export interface RegisterPlace {
  readonly name: string
  readonly offset: number
  readonly bytes: 4 | 8
}

/** What is taken for a register of which nothing is said. */
export interface Assumed {
  readonly name: string
  readonly value: bigint
  /** What it comes to, for people. */
  readonly what: string
}

export interface RegisterTable<Flag extends string = string> {
  /** As captures and scenarios call the IOMMU. */
  readonly kind: string
  /** The option's name: `--smmu`. */
  readonly flag: Flag
  readonly title: string
  readonly registers: readonly RegisterPlace[]
  /** What people write before or behind a register's name: the manual's prefix. */
  readonly around: RegExp
  /** Other names of registers. */
  readonly aliases: Readonly<Record<string, string>>
  /** The register without which nothing can be read: it says where the tables are. */
  readonly needed: string
  readonly assumed: readonly Assumed[]
  /** e_machine of the CPUs that machines with such an IOMMU have. */
  readonly machines: readonly number[]
  readonly machineName: string
  readonly example: string
}

/** A register of `format/`, whose layout says how large it is. */
export const placed = ({ name, offset, layout }: { name: string; offset: number; layout: Layout }): RegisterPlace => ({
  name,
  offset,
  bytes: layout.bits === 32 ? 4 : 8,
})

/** What features are taken to be that no register tells. */
export const EVERYTHING = 'hardware that can do everything'

/** `an Arm SMMUv3`, `a RISC-V IOMMU`. */
export function withArticle({ title }: RegisterTable): string {
  return `${/^[AEIO]/.test(title) ? 'an' : 'a'} ${title}`
}

/** e_machine values in words, for findings. */
export const MACHINE_NAMES: Readonly<Record<number, string>> = {
  3: 'an x86 machine (32 bits)',
  40: 'an Arm machine (32 bits)',
  62: 'an x86-64 machine',
  183: 'an AArch64 machine',
  243: 'a RISC-V machine',
}
