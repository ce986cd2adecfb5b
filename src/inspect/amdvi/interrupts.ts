/** Interrupt remapping tables, told as notes: they are no address spaces. AMD IOMMU specification (48882), 2.2.5. */
import { hex } from '../../base/hex.ts'
import { getNumber } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { checkDteInterrupts, DTE_RULES } from '../../format/amdvi/check.ts'
import { DTE4_IV, dteIntCtl, INTCTL_REMAP, interruptEntries, interruptRoot } from '../../format/amdvi/dte.ts'
import type { AmdFeatures } from '../../format/amdvi/features.ts'
import { IRTE0_GUEST_MODE, IRTE0_REMAP_EN, IRTE32, IRTE128, IRTE128_GUEST, irteDestination } from '../../format/amdvi/irte.ts'
import { FOUND, findIrte, TableWalk } from '../../format/amdvi/lookup.ts'
import type { Findings } from '../source.ts'

/** So many entries of a table are told one by one; the others are counted. */
const TOLD = 2
/** So many tables are read: hostile device tables have more. */
const TABLES = 1 << 12

interface Table {
  readonly dte: Int32Array
  readonly users: string[]
}

/** Collects the interrupt tables of devices; each is read once. */
export class InterruptTables {
  readonly #memory: WordMemory
  readonly #features: AmdFeatures
  readonly #findings: Findings
  readonly #tables = new Map<string, Table>()

  constructor(memory: WordMemory, features: AmdFeatures, findings: Findings) {
    this.#memory = memory
    this.#features = features
    this.#findings = findings
  }

  /** What a device table entry (a copy of its words) says about interrupts. */
  add(dte: Int32Array, user: string, address: number): void {
    const rule = checkDteInterrupts(dte, 0)
    if (rule !== 0) {
      const text = `${DTE_RULES[rule]!.text} (${DTE_RULES[rule]!.section}): its interrupts are refused`
      this.#findings.add('error', `DTE of ${user} at ${hex(address)}`, text, 'bad DTE')
      return
    }
    if ((dte[4]! & DTE4_IV) === 0) return
    if (dteIntCtl(dte) !== INTCTL_REMAP) return
    const key = `${interruptRoot(dte)}|${interruptEntries(dte)}`
    const known = this.#tables.get(key)
    if (known !== undefined) known.users.push(user)
    else if (this.#tables.size < TABLES) this.#tables.set(key, { dte, users: [user] })
  }

  /** Says what the tables hold. Pages that a dump leaves out count as empty. */
  report(): void {
    for (const table of this.#tables.values()) this.#report(table)
  }

  #report({ dte, users }: Table): void {
    const walk = new TableWalk()
    const size = interruptEntries(dte)
    const told: string[] = []
    let remapped = 0
    let missing = 0
    for (let index = 0; index < size; index++) {
      if (findIrte(this.#memory, this.#features, dte, 0, index, walk) !== FOUND) {
        missing++
        continue
      }
      if ((walk.irte[0]! & IRTE0_REMAP_EN) === 0) continue
      remapped++
      if (told.length < TOLD) told.push(`${index} ${this.#entryText(walk.irte)}`)
    }
    const who = users.length <= 2 ? users.join(' and ') : `${users[0]} and ${users.length - 1} more`
    const place = `interrupt remapping table at ${hex(interruptRoot(dte))} (${who})`
    const more = remapped > told.length ? `, and ${remapped - told.length} more` : ''
    const list = told.length === 0 ? '' : `: ${told.join(', ')}${more}`
    const absent = missing === 0 ? '' : ` (${missing} are not in memory here, and count as empty)`
    this.#findings.add('note', place, `${remapped} of ${size} entries remap${absent}${list}`, 'interrupts')
  }

  /** `→ vector 0x31 of APIC 0`. */
  #entryText(irte: Int32Array): string {
    const long = this.#features.irteBytes === 16
    if (!long)
      return `→ vector ${hex(getNumber(irte, IRTE32.fields.Vector))} of APIC ${getNumber(irte, IRTE32.fields.Destination)}`
    const vector = hex(getNumber(irte, IRTE128.fields.Vector))
    if ((irte[0]! & IRTE0_GUEST_MODE) !== 0)
      return `→ virtual vector ${vector}, tag ${hex(getNumber(irte, IRTE128_GUEST.fields.GATag))}`
    const destination = irteDestination(irte)
    return `→ vector ${vector} of APIC ${this.#features.x2apic ? destination : destination & 0xff}`
  }
}
