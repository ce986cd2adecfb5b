import { describe, expect, it } from 'vitest'
import { reportOfText, reportsOf } from './logs.suite.ts'

describe('AMD-Vi events', () => {
  it.each([
    [
      'the device in front',
      'nvme 0000:0a:00.0: AMD-Vi: Event logged [IO_PAGE_FAULT domain=0x0011 address=0xfffe1000 flags=0x0020]',
    ],
    [
      'the device inside',
      'AMD-Vi: Event logged [IO_PAGE_FAULT device=0a:00.0 domain=0x0011 address=0x00000000fffe1000 flags=0x0020]',
    ],
    [
      'the segment too',
      'iommu ivhd0: AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:0a:00.0 domain=0x0011 address=0xfffe1000 flags=0x0020]',
    ],
    [
      'two lines',
      '[ 1.0] AMD-Vi: Event logged [\n[ 1.1] IO_PAGE_FAULT device=0a:00.0 domain=0x0011 address=0x00000000fffe1000 flags=0x0020]',
    ],
    [
      'a wrapped mail',
      '> AMD-Vi: Event logged [IO_PAGE_FAULT device=0a:00.0\n> domain=0x0011 address=0x00000000fffe1000\n> flags=0x0020]',
    ],
    [
      'no words before it',
      '[ 1.0] pci 0000:00:00.2: AMD-Vi: IO_PAGE_FAULT device=0a:00.0 domain=0x0011 address=0xfffe1000 flags=0x0020]',
    ],
    ['Xen', '(XEN) AMD-Vi: IO_PAGE_FAULT: domain = 17, device id = 0xa00, fault address = 0xfffe1000, flags = 0x20'],
    ['newer Xen', '(XEN) AMD-Vi: IO_PAGE_FAULT: 0000:0a:00.0 d17 addr 00000000fffe1000 flags 0x20 RW'],
    [
      'an encoded mail',
      'AMD-Vi: Event logged [IO_PAGE_FAULT device=3D0a:00.0 domain=3D0x0011 address=3D0xfffe=\n1000 flags=3D0x0020]',
    ],
  ])('IO_PAGE_FAULT with %s', (_, text) => {
    expect(reportOfText(text)).toMatchObject({
      kind: 'dma-fault',
      device: '0000:0a:00.0',
      pasid: null,
      address: '0xfffe1000',
      access: 'write',
      code: null,
      name: 'IO_PAGE_FAULT',
    })
  })

  it.each([
    [0x000, null, 'dma-fault', []],
    [0x020, 'write', 'dma-fault', ['RW']],
    [0x050, 'read', 'dma-fault', ['PR', 'PE']],
    [0x070, 'write', 'dma-fault', ['PR', 'RW', 'PE']],
    [0x008, null, 'interrupt-fault', ['I']],
    [0x028, null, 'interrupt-fault', ['I', 'RW']],
  ])('flags 0x%s mean what they mean', (flags, access, kind, names) => {
    const text = `AMD-Vi: Event logged [IO_PAGE_FAULT device=0a:00.0 domain=0x0011 address=0x1000 flags=0x${flags.toString(16).padStart(4, '0')}]`
    const report = reportOfText(text)
    expect(report).toMatchObject({ access, kind })
    expect(report.fields.flags).toEqual(names)
  })

  it('have a PASID where GN says so: in place of the domain', () => {
    const fault = (flags: string) =>
      reportOfText(`AMD-Vi: Event logged [IO_PAGE_FAULT device=0a:00.0 domain=0x0011 address=0x1000 flags=${flags}]`)
    expect(fault('0x0001')).toMatchObject({ pasid: 17 })
    expect(fault('0x0001').fields.domain).toBeUndefined()
    expect(fault('0x0000')).toMatchObject({ pasid: null, fields: { domain: 17 } })
  })

  it.each([
    ['DEV_TAB_HARDWARE_ERROR device=0000:0a:00.0 address=0x1234000 flags=0x0200', 'device-table', { table_address: '0x1234000' }],
    [
      'PAGE_TAB_HARDWARE_ERROR device=0000:0a:00.0 pasid=0x0004 address=0x1234000 flags=0x0200',
      'dma-fault',
      { table_address: '0x1234000', domain: 4 },
    ],
    ['ILLEGAL_COMMAND_ERROR address=0x1234010', 'command-error', { command_address: '0x1234010' }],
    ['COMMAND_HARDWARE_ERROR address=0x1234010 flags=0x0200', 'command-error', { command_address: '0x1234010' }],
    ['IOTLB_INV_TIMEOUT device=0000:0a:00.0 address=0x1234010', 'invalidation-timeout', { command_address: '0x1234010' }],
  ])('%s: addresses of tables and commands are none of the device', (event, kind, fields) => {
    const report = reportOfText(`iommu ivhd0: AMD-Vi: Event logged [${event}]`)
    expect(report).toMatchObject({ kind, address: null })
    expect(report.fields).toMatchObject(fields)
  })

  it('INVALID_DEVICE_REQUEST: by its type, and by its address', () => {
    const request = (address: string, flags: string) =>
      reportOfText(`AMD-Vi: Event logged [INVALID_DEVICE_REQUEST device=0a:00.0 pasid=0x00000 address=${address} flags=${flags}]`)
    expect(request('0xfdf8000020', '0x0a00')).toMatchObject({
      kind: 'interrupt-fault',
      access: 'write',
      fields: { request_type: 5 },
    })
    expect(request('0xfffffffdf8000020', '0x0000')).toMatchObject({ kind: 'interrupt-fault', access: 'read' })
    expect(request('0x12345000', '0x0200')).toMatchObject({ kind: 'dma-fault', access: null, fields: { request_type: 1 } })
  })

  it('RMP_PAGE_FAULT and INVALID_PPR_REQUEST have fields of their own', () => {
    const rmp = reportOfText(
      'AMD-Vi: Event logged [RMP_PAGE_FAULT device=0a:00.0, vmg_tag=0x0001, gpa=0x740b8784, flags_rmp=0x0002, flags=0x0020]',
    )
    expect(rmp).toMatchObject({
      kind: 'dma-fault',
      device: '0000:0a:00.0',
      address: '0x740b8784',
      fields: { vmg_tag: 1, flags_rmp: '0x0002' },
    })
    const ppr = reportOfText(
      'AMD-Vi: Event logged [INVALID_PPR_REQUEST device=0a:00.0 pasid=0x00012 address=0x7f0000001000 flags=0x0021 tag=0x003]',
    )
    expect(ppr).toMatchObject({ kind: 'page-request', pasid: 0x12, access: 'write', fields: { tag: 3 } })
  })

  it('ILLEGAL_DEV_TABLE_ENTRY is decoded with the entry that follows', () => {
    const text = `AMD-Vi: Event logged [ILLEGAL_DEV_TABLE_ENTRY device=0a:00.0 pasid=0x00000 address=0x1000 flags=0x0080]
AMD-Vi: DTE[0]: 6000000123456603
usb 1-1: reset
AMD-Vi: DTE[1]: 0000000000000007
AMD-Vi: DTE[2]: 2000000117840013
AMD-Vi: DTE[3]: 0000000000000000`
    const { fields } = reportOfText(text)
    expect(fields.dte).toHaveLength(4)
    expect(fields.dte_decoded).toMatchObject({ V: 1, TV: 1, mode: 3, host_root: '0x123456000', domain: 7, IV: 1, IntCtl: 2 })
  })

  it('ILLEGAL_COMMAND_ERROR has the words of the command', () => {
    const words = [0, 1, 2, 3].map((index) => `AMD-Vi: CMD[${index}]: 0000000${index}`).join('\n')
    expect(reportOfText(`AMD-Vi: Event logged [ILLEGAL_COMMAND_ERROR address=0x1234010]\n${words}`).fields.command).toEqual([
      '0x00000000',
      '0x00000001',
      '0x00000002',
      '0x00000003',
    ])
  })

  it('of a kind that is not known are told as such', () => {
    expect(
      reportOfText('AMD-Vi: Event logged [UNKNOWN event[0]=0x1 event[1]=0x90000000 event[2]=0x0 event[3]=0x0'),
    ).toMatchObject({
      kind: 'other',
      name: 'UNKNOWN',
    })
  })

  it('of which parts were made unreadable are told as far as they go', () => {
    const text = '(XEN) AMD-Vi: IO_PAGE_FAULT: DDDD:bb:dd.f d0 addr ffffff???????000 flags 0x8 I'
    expect(reportOfText(text)).toMatchObject({ kind: 'interrupt-fault', device: null, address: null })
  })

  it('count each time that they are printed', () => {
    const line = 'AMD-Vi: Event logged [IO_PAGE_FAULT device=0a:00.0 domain=0x0011 address=0x1000 flags=0x0000]\n'
    expect(reportsOf(line.repeat(3))).toHaveLength(3)
  })
})
