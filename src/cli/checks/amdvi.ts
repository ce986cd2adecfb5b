/** How captures of an AMD IOMMU name what they tell about its tables, and which of their translations are not to be believed. */
import { guestTranslation } from '../../format/amdvi/context.ts'
import { dteMode } from '../../format/amdvi/dte.ts'
import { FOUND, findDte, TableWalk } from '../../format/amdvi/lookup.ts'
import { isWithoutTables } from '../../inspect/amdvi/devices.ts'
import { eachDte } from '../../inspect/amdvi/table.ts'
import { amdviTable } from '../../inspect/amdvi.ts'
import type { SpaceNode } from '../../inspect/graph.ts'
import type { MachineSource } from '../../inspect/source.ts'
import type { Capture } from '../../node/index.ts'
import type { CheckList } from './contract.ts'
import type { FactNames } from './tables.ts'

const format = (name: string) => (space: SpaceNode) => space.format === name

export const AMDVI_FACTS: FactNames = {
  deviceWords: 'dte',
  pasidWords: 'gcr3e',
  deviceFields: { mode: 'Mode', tv: 'TV', gv: 'GV', domid: 'DomainID', glx: 'GLX', gpm: 'GuestPagingMode' },
  pasidFields: {},
  spaceFields: {},
  space: { root: ({ root }) => root, levels: ({ levels }) => BigInt(levels) },
  formats: { 'amd-v1': format('AMD v1'), 'amd-v2': format('AMD v2') },
  // Mode 0 without guest tables: whether anything passes is for IR and IW to say.
  withoutTables: ['passthrough'],
  structural: ['gcr3'],
}

/** `ste_without_tables`: how many entries have Mode 0 and no guest tables, those that `tables` lists among them. */
export function passThroughList(side: Capture['side'], source: MachineSource): CheckList {
  const expected = side.ste_without_tables['passthrough-dte']
  return {
    name: 'ste_without_tables',
    count: expected === undefined ? 0 : 1,
    check() {
      const { features, table } = amdviTable(source)
      let actual = 0
      eachDte(source.memory, features, table, 65536, null, (_device, _address, dte) => {
        if (isWithoutTables(features, dte)) actual++
      })
      if (actual === expected) return null
      const item = 'ste_without_tables.passthrough-dte'
      return { kind: 'different count', item, expected: `${expected} DTEs`, actual: `${actual}`, explain: () => '' }
    },
  }
}

const QEMU_PASSES =
  'the DTE of the device has Mode 0 and GV = 1, which QEMU passes through although the guest tables translate (DTEs tell; kernel_mappings and sva_pages are checked)'

/**
 * Why a translation that QEMU made for a device is not to be believed; null when it is: QEMU passes requests through where DTE.Mode is
 * 0, also where guest tables translate them.
 */
export function distrustQemu(source: MachineSource): (device: number) => string | null {
  const { features, table } = amdviTable(source)
  const walk = new TableWalk()
  return (device) => {
    if (findDte(source.memory, features, table, device, walk) !== FOUND) return null
    return guestTranslation(features, walk.dte) && dteMode(walk.dte) === 0 ? QEMU_PASSES : null
  }
}
