/** Devices out of the stream table: those with tables, those with a name, and the others by number. Arm IHI 0070, 5.2. */
import { hex } from '../../base/hex.ts'
import { getNumber } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { checkSte } from '../../format/smmuv3/check.ts'
import { noStage2, stage2Space } from '../../format/smmuv3/context.ts'
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import { Found, findSte, LOOKUP_OK, type StreamTable } from '../../format/smmuv3/lookup.ts'
import { CONFIG_BYPASS, STE, STE_WORDS } from '../../format/smmuv3/ste.ts'
import { type Candidate, type DeviceTable, deviceNode, type EntryKind } from '../devices.ts'
import type { DeviceNode, Names } from '../graph.ts'
import { deviceName, entryView, type Findings } from '../source.ts'
import type { Spaces } from '../spaces.ts'
import { domainLabel, type Under } from '../tables.ts'
import type { ContextTables } from './contexts.ts'
import { eachSte } from './stream.ts'

/** Everything that reading a device needs. */
export interface DeviceContext {
  readonly memory: WordMemory
  readonly features: SmmuFeatures
  readonly names: Names | undefined
  readonly spaces: Spaces
  readonly tables: ContextTables
  readonly findings: Findings
}

/** The stream table for the reader of device tables. */
export function deviceTable(context: DeviceContext, table: StreamTable): DeviceTable {
  const { memory, features, findings } = context
  return {
    name: 'stream table',
    idName: 'StreamID',
    entryWords: STE_WORDS,
    each: (limit, visit) =>
      eachSte(memory, table, features, limit, (sid, address, index) => visit(sid, address, memory.words, index), findings),
    kindOf: (words, index, sid) => kindOf(words, index, features, sid),
    nodeOf: (candidate) => deviceOf(context, candidate),
    absence(sid) {
      const found = new Found()
      return findSte(memory, table, features, sid, found) === LOOKUP_OK ? null : found.why
    },
  }
}

function kindOf(words: Int32Array, index: number, features: SmmuFeatures, sid: number): EntryKind | null {
  if (getNumber(words, STE.fields.V, index) === 0) return null
  const plain = (text: string, listed: EntryKind['listed']) => ({ text, key: text, listed })
  const broken = checkSte(words, index, features)
  if (broken !== null) return plain(`bad, ${broken.rule}`, 'first')
  const config = getNumber(words, STE.fields.Config, index)
  if (config < CONFIG_BYPASS) return plain('abort', 'never')
  if (config === CONFIG_BYPASS) return plain('bypass', 'few')
  const key = words.subarray(index, index + STE_WORDS).join()
  return { text: `with the same STE as ${hex(sid)}`, key, listed: 'first' }
}

function deviceOf(context: DeviceContext, { id, address, words }: Candidate): DeviceNode {
  const { features, names, spaces, tables, findings } = context
  const name = deviceName(names, id)
  const entry = entryView(STE, address, words)
  const node = (state: DeviceNode['state'], more: Partial<DeviceNode> = {}) => deviceNode(id, names, state, { entry, ...more })
  if (getNumber(words, STE.fields.V) === 0) return node('none', { note: 'the STE is not valid (V = 0)' })
  const bad = (note: string) => {
    findings.add('error', `STE of ${name} at ${hex(address)}`, note, 'bad STE')
    return node('bad', { note })
  }
  const broken = checkSte(words, 0, features)
  if (broken !== null) return bad(`C_BAD_STE: ${broken.rule} (${broken.section})`)
  const config = getNumber(words, STE.fields.Config)
  if (config < CONFIG_BYPASS) return node('abort')
  if (config === CONFIG_BYPASS) return node('bypass')
  const named = names?.devices?.get(id)?.domain
  const domain = named === undefined ? null : domainLabel(named)
  let under: Under | null = null
  if (config & 2) {
    const space = stage2Space(words, 0, features)
    if (space === null) return bad(noStage2(words, 0, features) ?? 'no stage 2')
    const tag = `VMID ${getNumber(words, STE.fields.S2VMID)}`
    const label = domain === null ? { what: 'stage 2 of', user: name } : { what: domain, user: null }
    under = { id: spaces.add(space, { stage: 2, role: 'io_pgtable', ...label, tag }), space }
  }
  // 1: full ATS, translated requests are physical addresses. 2: split-stage, they go through stage 2 (5.2 EATS).
  const ats = getNumber(words, STE.fields.EATS) === 1 ? 'EATS = 1' : null
  if ((config & 1) === 0) return node('tables', { ats, space: under!.id })
  return node('tables', { ats, pasidTable: tables.add(words, { user: name, domain }, under) })
}
