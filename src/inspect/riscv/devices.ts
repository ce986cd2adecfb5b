/** Device contexts as devices of the graph. RISC-V IOMMU 1.0, "Device-context fields". */
import { hex } from '../../base/hex.ts'
import { getNumber } from '../../base/layout.ts'
import { ptSpace, rightsTable } from '../../format/pt/format.ts'
import { CONTEXT_RULES, checkDc } from '../../format/riscv/check.ts'
import { stage1Space, stage2Space } from '../../format/riscv/context.ts'
import {
  DC,
  DC_BASE,
  DC_FSC,
  DC_IOHGATP,
  DC_TC,
  DC_WORDS,
  gscidOf,
  IOHGATP_BARE,
  modeOf,
  PDTP_BARE,
  TC_DTF,
  TC_EN_ATS,
  TC_PDTV,
  TC_T2GPA,
  TC_V,
} from '../../format/riscv/contexts.ts'
import type { RiscvFeatures } from '../../format/riscv/features.ts'
import { DirectoryWalk, deviceTooWide, findDc } from '../../format/riscv/lookup.ts'
import { CAUSES } from '../../format/riscv/records.ts'
import { type Candidate, type DeviceTable, deviceNode, type EntryKind } from '../devices.ts'
import type { DeviceNode } from '../graph.ts'
import type { Reading } from '../reading.ts'
import { deviceName, entryView } from '../source.ts'
import { type Owner, ownerOf, pasidSpaceUse, stage2Use, type Under } from '../tables.ts'
import { type DeviceDirectory, eachDeviceContext } from './directory.ts'
import { isEmpty } from './empty.ts'
import { reportMsiTable } from './msi.ts'
import type { ProcessDirectories } from './processes.ts'

/** Everything that reading a device needs. */
export interface DeviceContext extends Reading<RiscvFeatures> {
  readonly directories: ProcessDirectories
}

/** The device directory for the reader of device tables. */
export function deviceTable(context: DeviceContext, directory: DeviceDirectory): DeviceTable {
  const { memory, features, findings } = context
  return {
    name: 'device directory',
    idName: 'device_id',
    entryWords: DC_WORDS,
    each: (limit, visit) =>
      eachDeviceContext(memory, features, directory, limit, findings, (device, address, words) =>
        visit(device, address, words, 0),
      ),
    kindOf: (words, _at, device) => kindOf(context, words, device),
    nodeOf: (candidate) => nodeOf(context, candidate),
    absence: (device) => absence(context, directory, device),
  }
}

/** Rights of unprivileged code for everybody. */
const UNPRIVILEGED = rightsTable(64, (rights) => (rights & 7) | ((rights & 7) << 3))

/** What a device context does with requests that have no process_id. */
type Way = 'tables' | 'bypass' | 'abort'

/** A context that reports no faults and whose table is empty lets nothing through, and says nothing about it. */
function wayOf({ memory, features }: DeviceContext, dc: Int32Array): Way {
  const high = dc[DC_FSC + 1]!
  const stage2 = modeOf(dc[DC_IOHGATP + 1]!) !== IOHGATP_BARE
  const pdtv = (dc[DC_TC]! & TC_PDTV) !== 0
  if (pdtv) return modeOf(high) === PDTP_BARE && !stage2 ? 'bypass' : 'tables'
  const space = stage1Space(features, dc[DC_TC]!, high, dc[DC_FSC]!, true, null)
  if (space === null) return stage2 ? 'tables' : 'bypass'
  return (dc[DC_TC]! & TC_DTF) !== 0 && !stage2 && isEmpty(memory, space) ? 'abort' : 'tables'
}

function kindOf(context: DeviceContext, dc: Int32Array, device: number): EntryKind | null {
  if ((dc[DC_TC]! & TC_V) === 0) return null
  const rule = checkDc(dc, 0, context.features)
  if (rule !== 0) return { text: `bad, ${CONTEXT_RULES[rule]}`, key: `bad ${rule}`, listed: 'first' }
  const way = wayOf(context, dc)
  if (way !== 'tables') return { text: way, key: way, listed: way === 'bypass' ? 'few' : 'never' }
  return { text: `with the same DC as ${hex(device)}`, key: dc.subarray(0, DC_WORDS).join(), listed: 'first' }
}

function nodeOf(context: DeviceContext, { id, address, words: dc }: Candidate): DeviceNode {
  const { features, names, spaces, directories, findings } = context
  const layout = features.extended ? DC : DC_BASE
  const entry = entryView(layout, address, dc.slice(0, layout.bits / 32))
  const user = deviceName(names, id)
  // With T2GPA, translated requests are guest physical addresses, and go through the second stage.
  const trusted = (dc[DC_TC]! & (TC_EN_ATS | TC_T2GPA)) === TC_EN_ATS
  const ats = trusted ? 'tc.EN_ATS = 1, tc.T2GPA = 0' : null
  const node = (state: DeviceNode['state'], more: Partial<DeviceNode> = {}) =>
    deviceNode(id, names, state, { entry, ats: state === 'tables' ? ats : null, ...more })
  const rule = checkDc(dc, 0, features)
  if (rule !== 0) {
    const note = `DDT entry misconfigured (cause 259): ${CONTEXT_RULES[rule]}`
    findings.add('error', `DC of ${user} at ${hex(address)}`, note, 'bad DC')
    return node('bad', { note })
  }
  const way = wayOf(context, dc)
  if (way === 'abort') return node('abort', { note: 'its table is empty, and faults are not reported (tc.DTF)' })
  if (way === 'bypass') return node('bypass')
  const owner = ownerOf(names, id)
  const under = secondStage(context, dc, owner)
  reportMsiTable(context.memory, features, dc, user, findings)
  const high = dc[DC_FSC + 1]!
  if ((dc[DC_TC]! & TC_PDTV) !== 0) {
    if (modeOf(high) === PDTP_BARE) return node('tables', { space: under!.id, note: 'the process directory is Bare' })
    return node('tables', { pasidTable: directories.add(dc, owner, under) })
  }
  const found = stage1Space(features, dc[DC_TC]!, high, dc[DC_FSC]!, true, under?.space ?? null)
  // Requests without process_id are never privileged.
  const space = found === null ? null : ptSpace({ ...found, fix: UNPRIVILEGED })
  if (space === null) return node('tables', { space: under!.id })
  const tag = `PSCID ${getNumber(dc, DC.fields['ta.PSCID'])}`
  const use = pasidSpaceUse({ pasid: 0, pasidName: 'process_id', role: 'unknown', tag, nested: under !== null }, owner)
  return node('tables', { space: spaces.add(space, use, under?.id ?? null) })
}

function secondStage({ features, spaces }: DeviceContext, dc: Int32Array, owner: Owner): Under | null {
  const space = stage2Space(features, dc)
  if (space === null) return null
  const use = stage2Use('second stage', `GSCID ${gscidOf(dc[DC_IOHGATP + 1]!)}`, owner)
  return { id: spaces.add(space, use), space }
}

/** Why there is no valid device context. */
function absence({ memory, features }: DeviceContext, { root, levels }: DeviceDirectory, device: number): string | null {
  if (deviceTooWide(features, levels, device)) return 'its device_id is wider than the device directory'
  const walk = new DirectoryWalk()
  const cause = findDc(memory, features, root, levels, device, walk)
  if (cause === 0) return null
  const what = walk.reads === levels ? 'its DC' : `the DDT entry of level ${levels - walk.reads}`
  return `${what} at ${hex(walk.address[walk.reads - 1]!)}: ${CAUSES[cause]} (cause ${cause})`
}
