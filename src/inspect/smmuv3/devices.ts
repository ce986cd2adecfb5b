/** Devices out of the stream table: those with tables, those with a name, and the others by number. Arm IHI 0070, 5.2. */
import { hex } from '../../base/hex.ts'
import { getNumber } from '../../base/layout.ts'
import type { WordMemory } from '../../base/memory.ts'
import { checkSte } from '../../format/smmuv3/check.ts'
import { noStage2, stage2Space } from '../../format/smmuv3/context.ts'
import type { SmmuFeatures } from '../../format/smmuv3/features.ts'
import { Found, findSte, LOOKUP_OK, type StreamTable } from '../../format/smmuv3/lookup.ts'
import { CONFIG_BYPASS, STE, STE_WORDS } from '../../format/smmuv3/ste.ts'
import type { DeviceNode, Names } from '../graph.ts'
import { deviceName, entryView, type Findings } from '../source.ts'
import type { Budget } from '../space.ts'
import type { Spaces } from '../spaces.ts'
import type { ContextTables, Under } from './contexts.ts'
import { eachSte } from './stream.ts'

/** So many devices are listed; of those without a name, so many that say the same. */
const DEVICES = 1 << 12
const ALIKE = 8

/** An STE that may be listed. */
interface Candidate {
  readonly sid: number
  readonly address: number
  readonly words: Int32Array
}

/** STEs without a name that mean the same. */
interface Kind {
  readonly text: string
  count: number
  readonly firstSid: number
  lastSid: number
  readonly candidates: Candidate[]
  /** Whether the first few are listed even when there are many. */
  readonly listed: boolean
}

/** Everything that reading a device needs. */
export interface DeviceContext {
  readonly memory: WordMemory
  readonly features: SmmuFeatures
  readonly names: Names | undefined
  readonly spaces: Spaces
  readonly tables: ContextTables
  readonly findings: Findings
  readonly budget: Budget
}

/** Devices in order of their ids, and the others in words: `757 entries: abort`. */
export function readDevices(context: DeviceContext, table: StreamTable): { devices: DeviceNode[]; rest: string[] } {
  const { memory, features, names, findings, budget } = context
  const kinds = new Map<string, Kind>()
  const chosen: Candidate[] = []
  const named = new Set(names?.devices?.keys())
  const limit = Math.ceil(budget.entries / 2)
  const { complete, lookups } = eachSte(
    memory,
    table,
    features,
    limit,
    (sid, address, index) => {
      const { words } = memory
      if (named.has(sid)) {
        chosen.push({ sid, address, words: words.slice(index, index + STE_WORDS) })
        return
      }
      // An entry that is not valid is an unused one.
      if (getNumber(words, STE.fields.V, index) === 1)
        count(kinds, kindOf(words, index, features, sid), { sid, address, index }, words)
    },
    findings,
  )
  budget.entries -= lookups
  if (!complete)
    findings.add('warning', 'stream table', 'is larger than what is read of one machine: StreamIDs are left out', 'incomplete')
  const rest: string[] = []
  for (const kind of kinds.values()) {
    const all = kind.count <= ALIKE && kind.candidates.length === kind.count
    if (all || kind.listed) chosen.push(...kind.candidates)
    const left = all ? 0 : kind.listed ? kind.count - kind.candidates.length : kind.count
    if (left > 0) rest.push(restText(kind, left))
  }
  chosen.sort((a, b) => a.sid - b.sid)
  if (chosen.length > DEVICES) {
    rest.push(`${chosen.length - DEVICES} entries: not listed, there are too many`)
    chosen.length = DEVICES
  }
  const devices = chosen.map((candidate) => deviceOf(context, candidate))
  const seen = new Set(chosen.map(({ sid }) => sid))
  for (const sid of named) if (!seen.has(sid)) devices.push(absentDevice(context, table, sid))
  return { devices: devices.sort((a, b) => a.id - b.id), rest }
}

function restText({ text, firstSid, lastSid }: Kind, left: number): string {
  const where = firstSid === lastSid ? `StreamID ${hex(firstSid)}` : `StreamIDs ${hex(firstSid)}–${hex(lastSid)}`
  return `${left} ${left === 1 ? 'entry' : 'entries'}: ${text} (${where})`
}

/** Devices with a name, while translation is off: GBPA decides for all. */
export function devicesWithoutTranslation(names: Names | undefined, aborts: boolean): DeviceNode[] {
  const state = aborts ? 'abort' : 'bypass'
  return [...(names?.devices ?? [])]
    .map(([id, { name, detail, domain }]) => ({
      id,
      name,
      detail: detail ?? null,
      domain: domain ?? null,
      state: state as DeviceNode['state'],
      pasidTable: null,
      space: null,
      note: 'translation is off',
      entry: null,
    }))
    .sort((a, b) => a.id - b.id)
}

/** What a valid STE without a name counts as. */
function kindOf(
  words: Int32Array,
  index: number,
  features: SmmuFeatures,
  sid: number,
): { text: string; key: string; listed: boolean } {
  const plain = (text: string, listed = false) => ({ text, key: text, listed })
  const broken = checkSte(words, index, features)
  if (broken !== null) return plain(`bad, ${broken.rule}`, true)
  const config = getNumber(words, STE.fields.Config, index)
  if (config < CONFIG_BYPASS) return plain('abort')
  if (config === CONFIG_BYPASS) return plain('bypass')
  const key = words.subarray(index, index + STE_WORDS).join()
  return { text: `with the same STE as ${hex(sid)}`, key, listed: true }
}

function count(
  kinds: Map<string, Kind>,
  { text, key, listed }: { text: string; key: string; listed: boolean },
  at: { sid: number; address: number; index: number },
  words: Int32Array,
): void {
  let kind = kinds.get(key)
  if (kind === undefined) {
    // Tables of their own for each of very many devices: beyond what is listed they are only counted.
    const full = kinds.size >= DEVICES
    const name = full ? 'with tables, not listed' : text
    kind = kinds.get(full ? name : key)
    if (kind === undefined) {
      kind = { text: name, count: 0, firstSid: at.sid, lastSid: at.sid, candidates: [], listed: listed && !full }
      kinds.set(full ? name : key, kind)
    }
  }
  kind.count++
  kind.lastSid = at.sid
  // What aborts is only ever counted; of bypass, few are listed and many are counted.
  if (kind.candidates.length < ALIKE && (kind.listed || kind.text === 'bypass'))
    kind.candidates.push({ sid: at.sid, address: at.address, words: words.slice(at.index, at.index + STE_WORDS) })
}

function deviceOf(context: DeviceContext, { sid, address, words }: Candidate): DeviceNode {
  const { features, names, spaces, tables, findings } = context
  const known = names?.devices?.get(sid)
  const name = deviceName(names, sid)
  const node = (state: DeviceNode['state'], more: Partial<DeviceNode> = {}): DeviceNode => ({
    id: sid,
    name,
    detail: known?.detail ?? null,
    domain: known?.domain ?? null,
    state,
    pasidTable: null,
    space: null,
    note: null,
    entry: entryView(STE, address, words),
    ...more,
  })
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
  const domain = known?.domain === undefined ? null : domainLabel(known.domain)
  let under: Under | null = null
  if (config & 2) {
    const space = stage2Space(words, 0, features)
    if (space === null) return bad(noStage2(words, 0, features) ?? 'no stage 2')
    const tag = `VMID ${getNumber(words, STE.fields.S2VMID)}`
    const label = domain === null ? { what: 'stage 2 of', user: name } : { what: domain, user: null }
    under = { id: spaces.add(space, { stage: 2, role: 'io_pgtable', ...label, tag }), space }
  }
  if ((config & 1) === 0) return node('tables', { space: under!.id })
  return node('tables', { pasidTable: tables.add(words, { user: name, domain }, under) })
}

/** `domain A`, whether it is called `A` or `domain A`. */
function domainLabel(domain: string): string {
  return /domain/i.test(domain) ? domain : `domain ${domain}`
}

/** A device that is known to exist, and whose STE cannot be reached. */
function absentDevice({ memory, features, names }: DeviceContext, table: StreamTable, sid: number): DeviceNode {
  const found = new Found()
  const status = findSte(memory, table, features, sid, found)
  const known = names?.devices?.get(sid)
  return {
    id: sid,
    name: deviceName(names, sid),
    detail: known?.detail ?? null,
    domain: known?.domain ?? null,
    state: 'none',
    pasidTable: null,
    space: null,
    note: status === LOOKUP_OK ? 'not read: the stream table is too large' : found.why,
    entry: null,
  }
}
