/** Device table entries as devices of the graph. AMD IOMMU specification (48882), 2.2.2.1. */
import { hex } from '../../base/hex.ts'
import { getNumber } from '../../base/layout.ts'
import { checkDte, DTE_RULES } from '../../format/amdvi/check.ts'
import {
  dteRights,
  guestTranslation,
  hostSpace,
  WAY_ABORT,
  WAY_BYPASS,
  WAY_HOST,
  WAY_PASS_THROUGH,
  wayWithoutPasid,
} from '../../format/amdvi/context.ts'
import { DTE, DTE_WORDS, dteDomain } from '../../format/amdvi/dte.ts'
import type { AmdFeatures } from '../../format/amdvi/features.ts'
import { type DeviceTable as Dtes, FOUND, findDte, ILLEGAL, TableWalk } from '../../format/amdvi/lookup.ts'
import { type Candidate, type DeviceTable, deviceNode, type EntryKind } from '../devices.ts'
import type { DeviceNode } from '../graph.ts'
import type { Reading } from '../reading.ts'
import { deviceName, entryView } from '../source.ts'
import type { Spaces } from '../spaces.ts'
import { type Owner, ownerOf, stage2Use, type Under } from '../tables.ts'
import type { Gcr3Tables } from './gcr3.ts'
import type { InterruptTables } from './interrupts.ts'
import { eachDte, LOOKUP_TEXT } from './table.ts'

/** Everything that reading a device needs. */
export interface DeviceContext extends Reading<AmdFeatures> {
  readonly tables: Gcr3Tables
  readonly interrupts: InterruptTables
}

/** The device table for the reader of device tables. */
export function deviceTableReader(context: DeviceContext, table: Dtes): DeviceTable {
  const { memory, features, findings } = context
  return {
    name: 'device table',
    idName: 'DeviceID',
    entryWords: DTE_WORDS,
    each: (limit, visit) =>
      eachDte(memory, features, table, limit, findings, (device, address, words) => visit(device, address, words, 0)),
    kindOf: (words, at, device) => kindOf(features, words.slice(at, at + DTE_WORDS), device),
    nodeOf: (candidate) => nodeOf(context, candidate),
    absence(device) {
      const walk = new TableWalk()
      const status = findDte(memory, features, table, device, walk)
      return status === FOUND || status === ILLEGAL ? null : `its DTE cannot be read: ${LOOKUP_TEXT[status]}`
    },
  }
}

/** What an entry without tables lets through, by IR and IW: state and note. */
const PASS: readonly (readonly [state: 'abort' | 'bypass', note: string | null])[] = [
  ['abort', 'Mode is 0, IR and IW are 0'],
  ['bypass', 'reads only (IW is 0)'],
  ['bypass', 'writes only (IR is 0)'],
  ['bypass', null],
]

function kindOf(features: AmdFeatures, dte: Int32Array, device: number): EntryKind {
  const plain = (text: string, listed: EntryKind['listed']) => ({ text, key: text, listed })
  const rule = checkDte(dte, 0, features)
  if (rule !== 0) return plain(`bad, ${DTE_RULES[rule]!.text}`, 'first')
  const way = wayWithoutPasid(features, dte)
  if (way === WAY_BYPASS) return plain('bypass, V is 0', 'never')
  if (way === WAY_ABORT) return plain('abort, TV is 0', 'never')
  if (way === WAY_PASS_THROUGH && !guestTranslation(features, dte)) {
    const [state, note] = PASS[dteRights(dte)]!
    return plain(note === null ? state : `${state}, ${note}`, state === 'abort' ? 'never' : 'few')
  }
  return { text: `with the same DTE as ${hex(device)}`, key: dte.join(), listed: 'first' }
}

function nodeOf(context: DeviceContext, { id, address, words: dte }: Candidate): DeviceNode {
  const { features, names, spaces, tables, interrupts, findings } = context
  const entry = entryView(DTE, address, dte)
  const user = deviceName(names, id)
  const node = (state: DeviceNode['state'], more: Partial<DeviceNode> = {}) => deviceNode(id, names, state, { entry, ...more })
  interrupts.add(dte, user, address)
  const rule = checkDte(dte, 0, features)
  if (rule !== 0) {
    const note = `ILLEGAL_DEV_TABLE_ENTRY: ${DTE_RULES[rule]!.text} (${DTE_RULES[rule]!.section})`
    findings.add('error', `DTE of ${user} at ${hex(address)}`, note, 'bad DTE')
    return node('bad', { note })
  }
  const way = wayWithoutPasid(features, dte)
  if (way === WAY_BYPASS) return node('bypass', { note: 'V is 0' })
  if (way === WAY_ABORT) return node('abort', { note: 'TV is 0' })
  const guest = guestTranslation(features, dte)
  if (way === WAY_PASS_THROUGH && !guest) {
    const [state, note] = PASS[dteRights(dte)]!
    return node(state, { note })
  }
  const owner = ownerOf(names, id)
  const under = hostTables(features, spaces, dte, owner)
  const space = way === WAY_HOST ? under!.id : null
  const ats = getNumber(dte, DTE.fields.I) === 1 ? 'I = 1' : null
  if (!guest) return node('tables', { ats, space })
  return node('tables', { ats, pasidTable: tables.add(dte, owner, under), space })
}

/** The host tables, whether requests without PASID use them or guest tables stand on them. */
function hostTables(features: AmdFeatures, spaces: Spaces, dte: Int32Array, owner: Owner): Under | null {
  const space = hostSpace(features, dte)
  if (space === null) return null
  return { id: spaces.add(space, stage2Use('DMA domain', `DomainID ${dteDomain(dte)}`, owner)), space }
}

/** Entries that are valid, have no tables at all and count as such: for facts of captures. */
export function isWithoutTables(features: AmdFeatures, dte: Int32Array): boolean {
  return (
    checkDte(dte, 0, features) === 0 && wayWithoutPasid(features, dte) === WAY_PASS_THROUGH && !guestTranslation(features, dte)
  )
}
