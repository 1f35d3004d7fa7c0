-- Audit events as they came, one line each. The views read it.
-- The fields of a row are parted by U+0001, which JSON cannot hold unescaped,
-- so a line is one field.
CREATE EXTERNAL TABLE audit_events_lines (
  `line` string COMMENT 'The event as the API sent it, one JSON object'
)
PARTITIONED BY (
  `event_date` string COMMENT 'UTC day of the event, yyyy-MM-dd'
)
ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe'
WITH SERDEPROPERTIES ('serialization.format' = '1')
STORED AS TEXTFILE
LOCATION 's3://<BucketName>/<KeyPrefix>audit_events/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.event_date.type' = 'date',
  'projection.event_date.format' = 'yyyy-MM-dd',
  'projection.event_date.interval' = '1',
  'projection.event_date.interval.unit' = 'DAYS',
  'projection.event_date.range' = 'NOW-<RetentionDays>DAYS,NOW+2DAYS',
  'storage.location.template' = 's3://<BucketName>/<KeyPrefix>audit_events/${event_date}/'
);
