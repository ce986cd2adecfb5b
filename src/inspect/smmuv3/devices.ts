/** Devices out of the stream table: those with tables, those with a name, and the others by number. Arm IHI 0070, 5.2. */
import { hex } from '../../base/hex.ts'
import { getNumber } from '../../base/layout.ts'
import { checkSte } from '../../format/smmuv3/check.ts'
import { noStage2, stage2Space } from '../../format/smmuv3/context.ts'
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import { Found, findSte, LOOKUP_OK, type StreamTable } from '../../format/smmuv3/lookup.ts'
import { CONFIG_BYPASS, STE, STE_WORDS } from '../../format/smmuv3/ste.ts'
import { type Candidate, type DeviceTable, deviceNode, type EntryKind } from '../devices.ts'
import type { DeviceNode } from '../graph.ts'
import type { Reading } from '../reading.ts'
import { deviceName, entryView } from '../source.ts'
import { ownerOf, stage2Use, type Under } from '../tables.ts'
import type { ContextTables } from './contexts.ts'
import { eachSte } from './stream.ts'

/** Everything that reading a device needs. */
export interface DeviceContext extends Reading<SmmuFeatures> {
  readonly tables: ContextTables
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
  const owner = ownerOf(names, id)
  let under: Under | null = null
  if (config & 2) {
    const space = stage2Space(words, 0, features)
    if (space === null) return bad(noStage2(words, 0, features) ?? 'no stage 2')
    const use = stage2Use('stage 2', `VMID ${getNumber(words, STE.fields.S2VMID)}`, owner)
    under = { id: spaces.add(space, use), space }
  }
  // 1: full ATS, translated requests are physical addresses. 2: split-stage, they go through stage 2 (5.2 EATS).
  const ats = getNumber(words, STE.fields.EATS) === 1 ? 'EATS = 1' : null
  if ((config & 1) === 0) return node('tables', { ats, space: under!.id })
  return node('tables', { ats, pasidTable: tables.add(words, owner, under) })
}
