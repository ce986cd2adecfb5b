/** The interrupt remapping table, told as notes: it is no address space. Intel VT-d 4.1, sections 5.1, 9.10, 9.11. */
import { hex } from '../../base/hex.ts'
import { decode, getAddress, getNumber, wordsFromU64 } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { checkIrte, ENTRY_RULES } from '../../format/vtd/check.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import { IRTE_BYTES, IRTE_IM, IRTE_P, IRTE_POSTED, IRTE_REMAPPED, SVT_BUS_RANGE, SVT_NONE } from '../../format/vtd/irte.ts'
import { GSTS, IRTA } from '../../format/vtd/registers.ts'
import type { Names } from '../graph.ts'
import type { RegisterFile } from '../registers.ts'
import { deviceName, type Findings } from '../source.ts'

/** So many entries are told one by one; the others are counted. */
const TOLD = 2

/** Says what the table holds. Pages that a dump leaves out count as empty. */
export function readInterruptTable(
  memory: WordMemory,
  registers: RegisterFile,
  features: VtdFeatures,
  names: Names | undefined,
  findings: Findings,
): void {
  if (!features.interruptRemapping || registers.field(GSTS, 'IRTPS') === 0) return
  const base = getAddress(wordsFromU64([registers.value('IRTA')]), IRTA.fields.IRTA)
  const size = 2 ** (registers.field(IRTA, 'S') + 1)
  const extended = registers.field(IRTA, 'EIME') === 1
  const place = `interrupt remapping table at ${hex(base)}`
  const told: string[] = []
  let present = 0
  let posted = 0
  for (let index = 0; index < size; ) {
    const pa = base + index * IRTE_BYTES
    const at = pa >= features.hostLimit ? -1 : memory.index(pa, IRTE_BYTES)
    if (at < 0) {
      index += 256 - (index % 256)
      continue
    }
    const { words } = memory
    if ((words[at]! & IRTE_P) !== 0) {
      present++
      if ((words[at]! & IRTE_IM) !== 0) posted++
      const rule = checkIrte(words, at, features, extended)
      if (rule !== 0)
        findings.add(
          'error',
          `IRTE ${hex(index)} at ${hex(pa)}`,
          `${ENTRY_RULES[rule]}: its interrupts are refused (fault reason 0x24)`,
          'bad IRTE',
        )
      else if (told.length < TOLD) told.push(`${hex(index)} ${entryText(words, at, extended, names)}`)
    }
    index++
  }
  const forms = posted > 0 ? `, ${posted} of them posted` : ''
  const more = present > told.length && told.length > 0 ? `; and ${present - told.length} more` : ''
  const list = told.length === 0 ? '' : `: ${told.join('; ')}${more}`
  const on = registers.field(GSTS, 'IRES') === 1 ? '' : ' (interrupt remapping is off)'
  findings.add('note', place, `${present} of ${size} entries are present${forms}${on}${list}`, 'interrupts')
}

/** `→ vector 0x31 of APIC 0, from 0000:00:02.0`. */
function entryText(words: Int32Array, at: number, extended: boolean, names: Names | undefined): string {
  const posted = (words[at]! & IRTE_IM) !== 0
  const layout = posted ? IRTE_POSTED : IRTE_REMAPPED
  const target = posted ? postedText(words, at) : remappedText(words, at, extended)
  const svt = getNumber(words, layout.fields.SVT, at)
  const sid = getNumber(words, layout.fields.SID, at)
  const from =
    svt === SVT_NONE
      ? 'any source'
      : svt === SVT_BUS_RANGE
        ? `buses ${hex(sid >>> 8)}–${hex(sid & 0xff)}`
        : deviceName(names, sid)
  return `→ ${target}, from ${from}`
}

function remappedText(words: Int32Array, at: number, extended: boolean): string {
  const { V, DST } = decode(IRTE_REMAPPED, words, at)
  const destination = extended ? Number(DST) : (Number(DST) >>> 8) & 0xff
  return `vector ${hex(V)} of APIC ${destination}`
}

function postedText(words: Int32Array, at: number): string {
  const { V, PDAL, PDAH } = decode(IRTE_POSTED, words, at)
  return `virtual vector ${hex(V)}, posted to ${hex(PDAH | PDAL)}`
}
