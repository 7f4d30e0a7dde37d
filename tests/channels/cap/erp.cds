// An ERP for the tests, on SAP's own OData v4 server: the model is ours, what the protocol does is theirs.
using { managed } from '@sap/cds/common';

namespace erp;

entity Products : managed {
  key code      : String(20);
  name          : String(100);
  price         : Decimal(15, 2);
  blocked       : Boolean default false;
  // How new what an agent wrote is.
  sourceVersion : Int64;
}

entity Stock : managed {
  key product   : String(20);
  key location  : String(20);
  quantity      : Decimal(15, 3) not null @mandatory;
  sourceVersion : Int64;
}

entity Orders : managed {
  key number : String(30);
  customer   : String(100);
  status     : String(20) @assert.range enum { open; released; shipped; invoiced; } default 'open';
  tracking   : String(50);
  items      : Composition of many Items on items.order = $self;
}

entity Items {
  key order    : Association to Orders;
  key position : Integer;
  product      : String(20);
  quantity     : Decimal(15, 3);
  price        : Decimal(15, 2);
}

// Who changes one of these must say which state it saw.
annotate Products with { modifiedAt @odata.etag };
annotate Stock    with { modifiedAt @odata.etag };

@path: '/odata/v4/erp'
@requires: 'authenticated-user'
service ErpService {
  entity Products as projection on erp.Products;
  entity Stock    as projection on erp.Stock;
  entity Orders   as projection on erp.Orders;
  entity Items    as projection on erp.Items;
}
