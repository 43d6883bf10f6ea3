-- Delete events and what they are found by.
-- ARGV: time to live, then two lists, each preceded by its length: buckets (key, number of fields, fields); sets
-- (key, number of members, members).
-- Returns how many events this call deleted: 0 if it is repeated.
local gone = 0
for _ = 1, number() do
  local key = p .. ARGV[at]
  at = at + 1
  gone = gone + many('HDEL', key, number())
end
for _ = 1, number() do
  local key = p .. ARGV[at]
  at = at + 1
  many('SREM', key, number())
end
if gone > 0 then
  if call('EXISTS', p .. 'n') == 1 then call('DECRBY', p .. 'n', gone) end
  call('INCRBY', p .. 'd', gone)
  extend(p .. 'd')
end
return gone
