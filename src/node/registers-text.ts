/**
 * Registers in the text of debug files. Linux, drivers/iommu: Intel's `iommu_regset` lists all registers of every IOMMU; AMD's `mmio` shows
 * the one whose offset was written to it, so people collect several such lines. Arm's and RISC-V's drivers have no such files.
 */
import { InputError } from './errors.ts'
import type { ListedRegister } from './registers.ts'

/** Registers of one IOMMU. */
export interface UnitRegisters {
  /** `dmar0`; `iommu00` where the text says it; empty where it does not. */
  readonly name: string
  readonly kind: 'vtd' | 'amdvi'
  readonly registers: readonly ListedRegister[]
}

/** `IOMMU: dmar0 Register Base Address: fed90000`. */
const INTEL_UNIT = /^\s*IOMMU: (\S+) Register Base Address: ?(?:0x)?[0-9a-f]+\s*$/i
/** `GSTS            	0x1c		0x00000000c7000000`. */
const INTEL_LINE = /^\s*([A-Z][A-Z0-9_]*)\s+0x([0-9a-f]{1,4})\s+0x([0-9a-f]{1,16})\s*$/i
/** `Offset:0x18 Value:0x000c00000003148f`; registers of the PCI capability, in the same form, have 8 digits. */
const AMD_LINE = /^(?:\S*?(iommu\d+)\S*?:)?\s*Offset:0x([0-9a-f]{1,5}) Value:0x([0-9a-f]{16})\s*$/i
/** 32-bit registers are listed with 16 digits too. */
const WIDE = 0xffffffffn

/** Whether a text is of this kind at all. */
export function isRegisterText(text: string): boolean {
  const head = text.slice(0, 65536).split('\n')
  return head.some((line) => INTEL_UNIT.test(line) || AMD_LINE.test(line))
}

/** The IOMMUs of such a text, those without registers left out. */
export function parseRegisterText(text: string): UnitRegisters[] {
  const units = new Map<string, { name: string; kind: UnitRegisters['kind']; registers: ListedRegister[] }>()
  const unit = (name: string, kind: UnitRegisters['kind']) => {
    const key = `${kind} ${name}`
    if (!units.has(key)) units.set(key, { name, kind, registers: [] })
    return units.get(key)!.registers
  }
  let intel: ListedRegister[] | null = null
  for (const line of text.split('\n')) {
    const named = INTEL_UNIT.exec(line)
    if (named !== null) {
      intel = unit(named[1]!, 'vtd')
      continue
    }
    const amd = AMD_LINE.exec(line)
    if (amd !== null) {
      const [, name = '', offset, value] = amd
      unit(name, 'amdvi').push({
        name: `0x${offset}`,
        offset: Number.parseInt(offset!, 16),
        size: 8,
        value: BigInt(`0x${value}`),
      })
      continue
    }
    const row = intel === null ? null : INTEL_LINE.exec(line)
    if (row === null) continue
    const value = BigInt(`0x${row[3]}`)
    // The register's own width, where it has a name here; of one that has none its value tells.
    const size = value > WIDE ? { size: 8 as const } : {}
    intel!.push({ name: row[1]!, offset: Number.parseInt(row[2]!, 16), ...size, value })
  }
  return [...units.values()].filter(({ registers }) => registers.length > 0)
}

/**
 * The IOMMU that is meant.
 * @param wanted its name (`--unit`), null when none is given.
 * @throws InputError when there is none of that name, or several to choose from.
 */
export function chosenUnit<U extends { readonly name: string }>(path: string, units: readonly U[], wanted: string | null): U {
  const names = units.map(({ name }) => name).join(', ')
  const found = wanted === null ? units : units.filter(({ name }) => name === wanted)
  if (found.length === 1) return found[0]!
  if (units.length === 0) throw new InputError(path, null, 'names an IOMMU, and none of its registers')
  if (found.length === 0) throw new InputError(path, null, `has no IOMMU '${wanted}': it has ${names}`)
  throw new InputError(path, null, `is of ${units.length} IOMMUs, ${names}: choose one with --unit ${units[0]!.name}`)
}
