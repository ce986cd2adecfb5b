/** Context entries as devices of the graph. Intel VT-d 4.1, sections 9.1 to 9.4. */
import { hex } from '../../base/hex.ts'
import { getNumber } from '../../base/layout.ts'
import { checkContext, checkSmContext, ENTRY_RULES } from '../../format/vtd/check.ts'
import { legacySpace } from '../../format/vtd/context.ts'
import { CONTEXT_ENTRY, CONTEXT_P, SM_CONTEXT_ENTRY, SM_CONTEXT_WORDS } from '../../format/vtd/contexts.ts'
import { faultText } from '../../format/vtd/faults.ts'
import type { VtdFeatures } from '../../format/vtd/features.ts'
import { findContext, findSmContext, TableWalk } from '../../format/vtd/lookup.ts'
import { type Candidate, type DeviceTable, deviceNode, type EntryKind } from '../devices.ts'
import type { DeviceNode } from '../graph.ts'
import type { Reading } from '../reading.ts'
import { deviceName, entryView } from '../source.ts'
import { Missing, ownerOf, pasidSpaceUse } from '../tables.ts'
import type { PasidDirectories } from './pasids.ts'

/** Everything that reading a device needs. */
export interface DeviceContext extends Reading<VtdFeatures> {
  readonly directories: PasidDirectories
  /** The root table. */
  readonly root: number
  readonly scalable: boolean
}

/** Source-ids: bus, device and function. */
const SOURCES = 1 << 16

/** Root and context tables for the reader of device tables. */
export function deviceTable(context: DeviceContext): DeviceTable {
  return {
    name: 'context tables',
    idName: 'source-id',
    entryWords: SM_CONTEXT_WORDS,
    each: (limit, visit) => eachContext(context, limit, visit),
    kindOf: (words, at, source) => kindOf(context, words, at, source),
    nodeOf: (candidate) => nodeOf(context, candidate),
    absence: (source) => absence(context, source),
  }
}

function find({ memory, features, root, scalable }: DeviceContext, source: number, walk: TableWalk): number {
  return (scalable ? findSmContext : findContext)(memory, features, root, source, walk)
}

/** Visits present context entries in order of source-ids. */
function eachContext(context: DeviceContext, limit: number, visit: Parameters<DeviceTable['each']>[1]) {
  const walk = new TableWalk()
  const missing = new Missing('context tables', context.findings)
  // A root entry (in scalable mode one half of it) is for one table; where nothing answers, all root entries are missing with it.
  const perTable = context.scalable ? 128 : 256
  let unread = false
  walk.observer = { entry: (_step, _pa, status) => (unread = status < 0) }
  let lookups = 0
  for (let source = 0; source < SOURCES; ) {
    if (lookups++ >= limit) return { complete: false, lookups }
    const fault = find(context, source, walk)
    const atContext = walk.reads === 2
    if (atContext && !unread) {
      if ((walk.context[0]! & CONTEXT_P) !== 0) visit(source, walk.address[1]!, walk.context, 0)
      source++
      continue
    }
    const from = source
    const step = atContext || !unread ? perTable : SOURCES
    source += step - (source % step)
    const place = walk.address[atContext ? 1 : 0]!
    const sources = `source-ids ${hex(from)}–${hex(source - 1)}`
    if (unread) missing.add(sources, place, faultText(fault))
    else if (walk.rule !== 0)
      context.findings.add('error', `root entry at ${hex(place)}`, `${sources}: ${faultText(fault)}`, 'bad root entry')
  }
  missing.done()
  return { complete: true, lookups }
}

function ruleOf({ features, scalable }: DeviceContext, words: Int32Array, at: number): number {
  return scalable ? checkSmContext(words, at, features) : checkContext(words, at, features)
}

function kindOf(context: DeviceContext, words: Int32Array, at: number, source: number): EntryKind | null {
  const rule = ruleOf(context, words, at)
  if (rule !== 0) return { text: `bad, ${ENTRY_RULES[rule]}`, key: `bad ${rule}`, listed: 'first' }
  if (!context.scalable && legacySpace(context.features, words, at) === null)
    return { text: 'pass-through', key: 'bypass', listed: 'few' }
  const key = words.subarray(at, at + SM_CONTEXT_WORDS).join()
  return { text: `with the same context entry as ${hex(source)}`, key, listed: 'first' }
}

function nodeOf(context: DeviceContext, { id, address, words }: Candidate): DeviceNode {
  const { features, names, spaces, directories, findings, scalable } = context
  const layout = scalable ? SM_CONTEXT_ENTRY : CONTEXT_ENTRY
  const entry = entryView(layout, address, words.slice(0, layout.bits / 32))
  const user = deviceName(names, id)
  const node = (state: DeviceNode['state'], more: Partial<DeviceNode> = {}) => deviceNode(id, names, state, { entry, ...more })
  const rule = ruleOf(context, words, 0)
  if (rule !== 0) {
    const note = `${faultText(find(context, id, new TableWalk()))}: ${ENTRY_RULES[rule]}`
    findings.add('error', `${layout.name} of ${user} at ${hex(address)}`, note, 'bad context entry')
    return node('bad', { note })
  }
  const owner = ownerOf(names, id)
  if (scalable) {
    const ats = getNumber(words, SM_CONTEXT_ENTRY.fields.DTE) === 1 ? 'DTE = 1' : null
    return node('tables', { ats, pasidTable: directories.add(words, owner) })
  }
  const space = legacySpace(features, words)
  if (space === null) return node('bypass', { note: 'pass-through (TT)' })
  const tag = `DID ${getNumber(words, CONTEXT_ENTRY.fields.DID)}`
  const use = pasidSpaceUse({ pasid: 0, pasidName: 'PASID', role: 'unknown', tag, nested: false }, owner)
  const ats = getNumber(words, CONTEXT_ENTRY.fields.TT) === 1 ? 'TT = 1' : null
  return node('tables', { ats, space: spaces.add(space, { ...use, stage: 2 }) })
}

/** Why there is no present context entry. */
function absence(context: DeviceContext, source: number): string | null {
  const walk = new TableWalk()
  const fault = find(context, source, walk)
  if (fault === 0) return null
  const at = walk.reads - 1
  return `the ${['root', 'context'][at]} entry at ${hex(walk.address[at]!)}: ${faultText(fault)}`
}
